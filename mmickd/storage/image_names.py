"""Names of the images of a bank's rows, in a file beside its tensors.

Rows hold image ids, which are hashes of these names. Training does not read the file; commands that
show or export rows do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmickd.sampling import image_id
from mmickd.storage.files import open_regular, read_manifest, sha256, write_manifest
from mmickd.utils.atomic import atomic_write
from mmickd.utils.errors import ICKDError
from mmickd.utils.text import error_text

NAMES = "images.jsonl"
"""File with an ASCII JSON string on each line, as a path may hold any character, even newlines."""
CHECKSUM = "images_sha256"
"""Key of the file's checksum in the manifest; banks of earlier versions have none."""


def write_names(folder: Path, names: Iterable[str]) -> str:
    """Write the file and return its checksum, for the manifest.

    Args:
        folder: Folder of the bank.
        names: Names of all images of the rows; further names are allowed.

    Raises:
        OSError: If the file cannot be written.
    """
    with atomic_write(folder / NAMES) as temporary:
        with temporary.open("w", encoding="ascii") as file:
            file.writelines(f"{json.dumps(name)}\n" for name in names)
        return sha256(temporary)


def add_names(folder: Path, names: Iterable[str]) -> None:
    """Write the file for a bank whose file is missing or invalid.

    Raises:
        OSError: If the file cannot be written, or there is no bank.
        ValueError: If the manifest is invalid.
    """
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, CHECKSUM: write_names(folder, names)})


def read_names(folder: Path) -> dict[int, str]:
    """Return the images of the bank in a folder.

    Returns:
        Names by image id: the path of the image, or '#12' for number 12 of a data set without
        paths. Ids of unknown images are missing.

    Raises:
        ICKDError: If there is no such file, or it was changed.

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
        ...     image_names = read_names(folder)
        >>> [image_names[number] for number in bank.ids.tolist()]
        ['cat/0.png', 'dog/1.png']
    """
    try:
        return {image_id(name): name for name in _names(folder)}
    except Exception as error:  # any error that changed files cause
        raise ICKDError(
            f"the image names of the bank in {folder} cannot be read ({error_text(error)}): "
            "`mmickd bank CONFIG` with the config of its run writes them again."
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
