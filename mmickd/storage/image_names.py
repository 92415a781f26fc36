"""The names of the images that the rows of a bank come from, in a file beside its tensors.

Rows hold ids, which are hashes of names: the file needs the names only, and each proves itself. No
run reads it; it is for people, and for commands that show or export rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmickd.sampling import image_id
from mmickd.storage.files import open_regular, replacing, sha256
from mmickd.storage.manifest import read_manifest, write_manifest
from mmickd.utils.errors import ICKDError
from mmickd.utils.text import error_text

NAMES = "images.jsonl"
"""A JSON string per line, in ASCII: whatever a path holds, newlines too, a line is a name."""
CHECKSUM = "images_sha256"
"""In the manifest; banks of earlier versions have none."""


def write_names(folder: Path, names: Iterable[str]) -> str:
    """Write the file.

    Args:
        folder: of the bank.
        names: of all images that its rows may come from; more do no harm.

    Returns:
        The checksum, for the manifest.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(folder / NAMES) as temporary:
        with temporary.open("w", encoding="ascii") as file:
            file.writelines(f"{json.dumps(name)}\n" for name in names)
        return sha256(temporary)


def add_names(folder: Path, names: Iterable[str]) -> None:
    """Write the file for a bank that lies there without it, or with a spoilt one.

    Raises:
        OSError: if it cannot be written, or there is no bank.
        ValueError: if the manifest describes none.
    """
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, CHECKSUM: write_names(folder, names)})


def read_names(folder: Path) -> dict[int, str]:
    """The images of a bank.

    Args:
        folder: of the bank.

    Returns:
        By id, as the bank's ``ids`` have it, the path of the image ('#12' for number 12 of a data
        set without paths). An image that is missing here is not known; none has a wrong name.

    Raises:
        ICKDError: if there is no such file, or it is not as it was written.

    Example:
        >>> import tempfile, torch
        >>> from mmickd.banks import MemoryBank
        >>> from mmickd.storage.cache import BankCache
        >>> from mmickd.structures import Samples
        >>> names = ["cat/0.png", "dog/1.png"]
        >>> ids = torch.tensor([image_id(name) for name in names])
        >>> bank = MemoryBank(Samples(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), ids), 2)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = BankCache(root, names=lambda: names).save(bank, {"level": "image"})
        ...     found = read_names(folder)
        >>> [found[number] for number in bank.ids.tolist()]
        ['cat/0.png', 'dog/1.png']
    """
    try:
        return {image_id(name): name for name in _names(folder)}
    except Exception as error:  # whatever a file leads to that anybody may have written
        raise ICKDError(
            f"the names of the images of the bank in {folder} are not known ({error_text(error)}): "
            "`mmickd bank CONFIG` with the config of its run writes them."
        ) from error


def _names(folder: Path) -> Iterator[str]:
    checksum = read_manifest(folder).get(CHECKSUM)
    if checksum is None:
        raise ValueError("an earlier version wrote it")
    if sha256(folder / NAMES) != checksum:
        raise ValueError(f"{NAMES} is truncated or was altered")
    with open_regular(folder / NAMES) as file:
        for line in file:
            yield json.loads(line)
