"""Banks on disk: one folder per fingerprint, a safetensors file and a manifest.

Nothing that is read can run code, nothing half written is ever taken for a bank, and whatever does
not match is left alone and reported in one line.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import save_file

from mmickd.banks.eviction import evict
from mmickd.banks.fingerprint import fingerprint_of
from mmickd.banks.inventory import entries, lock_of
from mmickd.banks.locking import waiting_for
from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.stored import (
    FORMAT_VERSION,
    MANIFEST,
    TENSORS,
    UNREADABLE,
    mismatch,
    one_line,
    read_bank,
    read_manifest,
    sha256,
)
from mmickd.structures import Samples

DEFAULT_LIMIT = 50.0
"""GiB that the banks of a cache folder may have together."""


def default_cache_dir() -> Path:
    """``$MMICKD_CACHE_DIR``, else ``~/.cache/mmickd``."""
    return Path(os.environ.get("MMICKD_CACHE_DIR") or "~/.cache/mmickd").expanduser()


class BankCache:
    """Finished banks in a folder.

    Args:
        root: the folder; made when the first bank is locked or written.
        limit: GiB that :func:`try_save` lets the banks have together; None: no limit.
        about: names for people to read, written into each manifest beside what counts.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        limit: float | None = DEFAULT_LIMIT,
        about: dict[str, str] | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.limit = limit
        self.about = about or {}

    def folder(self, fields: dict[str, Any]) -> Path:
        """Where the bank that ``fields`` describe lies."""
        return self.root / fingerprint_of({"format": FORMAT_VERSION, **fields})

    def lock(self, fields: dict[str, Any]) -> AbstractContextManager[None]:
        """Wait until no other run reads, builds or removes this bank, and keep others waiting.

        Where the folder cannot be locked, the run goes on without.
        """
        folder = self.folder(fields)
        return waiting_for(lock_of(folder), f"the {fields.get('level', 'memory')} bank {folder}")

    def load(self, fields: dict[str, Any]) -> tuple[MemoryBank | None, str]:
        """The bank that ``fields`` describe, and one line about it.

        Returns:
            The bank, or None where there is none that can be trusted; and what was found.
        """
        folder = self.folder(fields)
        try:
            if not folder.is_dir():
                return None, self._nearest(fields)
            _refuse_link(folder)
            manifest = read_manifest(folder)
            reason = mismatch(manifest, fields, folder / TENSORS)
            if reason:
                return None, f"the bank in {folder} {reason}"
            bank = read_bank(folder, manifest)
        except UNREADABLE as error:
            what = one_line(f"{type(error).__name__}: {error}")
            return None, f"the bank in {folder} cannot be read ({what})"
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # eviction goes by it
        return bank, f"memory bank from {folder}"

    def save(self, bank: MemoryBank, fields: dict[str, Any]) -> Path:
        """Write a bank; the manifest, which makes it valid, comes last.

        Raises:
            OSError: if the folder cannot be written.
        """
        folder = self.folder(fields)
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_link(folder)
        tensors = {name: getattr(bank.samples, name).cpu() for name in Samples.names()}
        with _replacing(folder / TENSORS) as temporary:
            try:
                save_file(tensors, temporary)
            except SafetensorError as error:  # so it calls a full disk
                raise OSError(str(error)) from error
            checksum = sha256(Path(temporary))
        manifest = {
            "format": FORMAT_VERSION,
            "num_classes": bank.num_classes,
            "rows": len(bank),
            "sha256": checksum,
            "fields": fields,
            "about": self.about,
        }
        with _replacing(folder / MANIFEST) as temporary:
            Path(temporary).write_text(json.dumps(manifest, indent=2, sort_keys=True))
        return folder

    def _nearest(self, fields: dict[str, Any]) -> str:
        """Why none of the banks that lie here is the right one."""
        best: tuple[int, str] | None = None
        wanted = {"format": FORMAT_VERSION, **fields}
        for entry in sorted(entries(self.root), key=lambda entry: entry.folder):
            try:
                manifest = read_manifest(entry.folder)
                other = {"format": manifest["format"], **manifest["fields"]}
            except UNREADABLE:
                continue
            differing = sorted(k for k in wanted | other if wanted.get(k) != other.get(k))
            text = f"the nearest one, {entry.folder}, has another {one_line(', '.join(differing))}"
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
    """Write a bank if that is possible, and make room; a warning says if it is not."""
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
        evict(cache.root, cache.limit, folder)


def _refuse_link(folder: Path) -> None:
    """A link could lead out of the cache.

    Raises:
        OSError: if ``folder`` is one.
    """
    if folder.is_symlink():
        raise OSError(f"{folder} is a link")
