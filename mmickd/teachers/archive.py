"""A look at a checkpoint's archive before torch believes what it says about sizes."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

from mmickd.utils.errors import ICKDError

LOCAL, END, END64, LOCATOR64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
END_BYTES, END64_BYTES, LOCATOR64_BYTES = 22, 56, 20


def check_archive(path: str, option: str = "teacher.checkpoint") -> None:
    """Refuse an archive that would unpack to more bytes than its file has.

    torch allocates what the directory of a zip file declares, and unpacks what is compressed.
    :func:`torch.save` compresses nothing, so that honest entries are as large as they are stored.

    Args:
        path: a local file; one that is no zip file (an older checkpoint) passes.
        option: that names the file, for messages.

    Raises:
        ICKDError: if it is such an archive, or a damaged one.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(LOCAL)) != LOCAL:
                return
            size = os.fstat(file.fileno()).st_size
            fault = _fault_of_directory(file, size) or _fault_of_entries(file, size)
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        fault = f"it is no readable archive: {error}"
    if fault:
        raise ICKDError(
            f"{option} '{path}' cannot be read, it may be truncated ({fault}). Get it "
            "again, or write it anew with torch.save."
        )


def _fault_of_directory(file: BinaryIO, size: int) -> str:
    """Why the directory may not be the one that torch reads; empty if there is just one place."""
    fault = "its directory is not where torch.save puts it"
    end = size - END_BYTES
    if end < LOCATOR64_BYTES + END64_BYTES:
        return fault
    signature, *_, length, offset, comment = struct.unpack("<4s4H2LH", _at(file, end, END_BYTES))
    if signature != END or comment:
        return fault
    mark, _, record, _ = struct.unpack("<4sLQL", _at(file, end - LOCATOR64_BYTES, LOCATOR64_BYTES))
    if mark == LOCATOR64:
        end -= LOCATOR64_BYTES + END64_BYTES
        about = _at(file, end, END64_BYTES)
        if record != end or not about.startswith(END64):
            return fault
        length, offset = struct.unpack("<2Q", about[40:])
    return "" if offset + length == end else fault


def _fault_of_entries(file: BinaryIO, size: int) -> str:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    for entry in entries:
        packed = entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size
        if packed or entry.flag_bits & 1:  # the flag: encrypted
            return f"its entry {entry.filename[:80]!r} is compressed"
    declared = sum(entry.file_size for entry in entries)
    return f"it declares {declared} bytes and has {size}" if declared > size else ""


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    return file.read(length)
