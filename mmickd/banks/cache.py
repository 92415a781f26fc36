"""Banks on disk: one folder per fingerprint, a safetensors file and a manifest.

Nothing that is read can run code, nothing half written is ever taken for a bank, and whatever does
not match is left alone and reported in one line.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmickd.banks.fingerprint import fingerprint_of
from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import Samples

FORMAT_VERSION = 1
TENSORS = "bank.safetensors"
MANIFEST = "manifest.json"
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)
"""What reading files raises that anybody may have written."""


def default_cache_dir() -> Path:
    """``$MMICKD_CACHE_DIR``, else ``~/.cache/mmickd``."""
    return Path(os.environ.get("MMICKD_CACHE_DIR") or "~/.cache/mmickd").expanduser()


class BankCache:
    """Finished banks in a folder.

    Args:
        root: the folder; made when the first bank is written.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser()

    def folder(self, fields: dict[str, Any]) -> Path:
        """Where the bank that ``fields`` describe lies."""
        return self.root / fingerprint_of({"format": FORMAT_VERSION, **fields})

    def load(self, fields: dict[str, Any]) -> tuple[MemoryBank | None, str]:
        """The bank that ``fields`` describe, and one line about it.

        Returns:
            The bank, or None where there is none that can be trusted; and what was found.
        """
        folder = self.folder(fields)
        try:
            if not folder.is_dir():
                return None, self._nearest(fields)
            manifest = json.loads((folder / MANIFEST).read_text())
            reason = _mismatch(manifest, fields, folder / TENSORS)
            if reason:
                return None, f"the bank in {folder} {reason}"
            tensors = load_file(folder / TENSORS)
            bank = MemoryBank(Samples(**tensors), int(manifest["num_classes"]))
        except UNREADABLE as error:
            return None, f"the bank in {folder} cannot be read ({type(error).__name__}: {error})"
        return bank, f"memory bank from {folder}"

    def save(self, bank: MemoryBank, fields: dict[str, Any]) -> Path:
        """Write a bank; the manifest, which makes it valid, comes last.

        Raises:
            OSError: if the folder cannot be written.
        """
        folder = self.folder(fields)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(bank.samples, name).cpu() for name in Samples.names()}
        with _replacing(folder / TENSORS) as temporary:
            save_file(tensors, temporary)
            checksum = _sha256(Path(temporary))
        manifest = {
            "format": FORMAT_VERSION,
            "num_classes": bank.num_classes,
            "rows": len(bank),
            "sha256": checksum,
            "fields": fields,
        }
        with _replacing(folder / MANIFEST) as temporary:
            Path(temporary).write_text(json.dumps(manifest, indent=2, sort_keys=True))
        return folder

    def _nearest(self, fields: dict[str, Any]) -> str:
        """Why none of the banks that lie here is the right one."""
        best: tuple[int, str] | None = None
        for path in sorted(self.root.glob(f"*/{MANIFEST}")):
            try:
                manifest = json.loads(path.read_text())
                other = {"format": manifest["format"], **manifest["fields"]}
            except UNREADABLE:
                continue
            wanted = {"format": FORMAT_VERSION, **fields}
            differing = sorted(k for k in wanted | other if wanted.get(k) != other.get(k))
            text = f"the nearest one, {path.parent}, has another {', '.join(differing)}"
            if best is None or len(differing) < best[0]:
                best = len(differing), text
        return f"no bank of this teacher and data set in {self.root}" + (
            f" ({best[1]})" if best else ""
        )


class _replacing:
    """A temporary name beside ``path`` that replaces it when the block ends well."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        handle, self._temporary = tempfile.mkstemp(
            dir=self._path.parent, prefix=f".{self._path.name}."
        )
        os.close(handle)
        return self._temporary

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(self._temporary, 0o666 & ~umask)  # mkstemp's 0600 locks out one's group
                with open(self._temporary, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self._path)
        finally:
            Path(self._temporary).unlink(missing_ok=True)  # gone already if it became the file


def try_save(cache: BankCache, bank: MemoryBank, fields: dict[str, Any]) -> None:
    """Write a bank if that is possible; a warning says if it is not."""
    try:
        folder = cache.save(bank, fields)
    except OSError as error:
        print_log(
            f"The memory bank cannot be cached in {cache.root} ({error}): it stays in memory and "
            "is built anew by the next run. Set bank.cache_dir to a folder that can be written, "
            "or to None.",
            logger="current",
            level=30,
        )
    else:
        print_log(f"Memory bank cached in {folder}", logger="current")


def _mismatch(manifest: dict[str, Any], fields: dict[str, Any], tensors: Path) -> str:
    """Why a folder does not hold the bank that it is named for; empty if it does."""
    if manifest["format"] != FORMAT_VERSION:
        return f"is of format {manifest['format']}, this version writes {FORMAT_VERSION}"
    if manifest["fields"] != json.loads(json.dumps(fields)):
        other = sorted(k for k in fields if manifest["fields"].get(k) != fields[k])
        return f"is of another {', '.join(other) or 'bank'}"
    if _sha256(tensors) != manifest["sha256"]:
        return "is truncated or was altered (checksum)"
    return ""


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**24):
            state.update(block)
    return state.hexdigest()
