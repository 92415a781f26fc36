"""Checks of a checkpoint's bytes before torch reads it: format, damage and declared sizes."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

LOCAL, END, END64, LOCATOR64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
"""Signatures in zip files, which torch.save writes: entry, ends, and locator of the 64-bit end."""
END_BYTES, END64_BYTES, LOCATOR64_BYTES = 22, 56, 20
PICKLED = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""Magic number at the beginning of a file that torch.save wrote before torch 1.6."""
HEAD_BYTES = 512

_OTHER_FORMATS = {
    b"<": "is a web page (HTML) or a server's message. Download the file itself",
    b"version https://git-lfs": "is a pointer of git-LFS. Get the file itself with `git lfs pull`",
    b"\x89HDF": "is an HDF5 file. Save the model's state_dict with torch.save",
}


def is_safetensors(path: str | Path) -> bool:
    """True if the file begins as safetensors: the length of a JSON header, then the header."""
    head = _read_head(path)
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < Path(path).stat().st_size


def fault_of_file(path: str | Path, check_sizes: bool = False) -> str:
    """Return why a file is no complete checkpoint, with advice.

    Archives of torch.save have a checksum of each entry, which torch does not check. The older
    format and safetensors have none.

    Args:
        path: Local file.
        check_sizes: Refuse an archive that would unpack to more bytes than the file has: torch
            allocates the sizes that the directory of a zip file declares, and unpacks compressed
            entries. (torch.save compresses nothing, so its entries are as large as declared.)

    Returns:
        Predicate of a sentence whose subject is the file's name; empty if no fault is found.
    """
    try:
        head = _read_head(path)
        if head.startswith(LOCAL):
            return _fault_of_archive(path) or (_fault_of_sizes(path) if check_sizes else "")
        if PICKLED in head or is_safetensors(path):
            return ""
    except OSError as error:
        return f"cannot be read ({error})."
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    fault = next((fault for start, fault in _OTHER_FORMATS.items() if text.startswith(start)), None)
    if not head:
        fault = "is empty. Get it again"
    elif head[0] == 8 and head[2:3] == b"\x12":  # protobuf: a version, then the producer's name
        fault = "is an ONNX model. Save the model's state_dict with torch.save"
    return f"{fault or 'is no file of torch.save or safetensors. Give the right one'}."


def _fault_of_archive(path: str | Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                return "is a TorchScript model. Save the model's state_dict with torch.save."
            # After torch.serialization.set_crc32_options(False), torch writes 0 for all checksums.
            has_checksums = any(entry.CRC for entry in entries)
            # Archives with false sizes could take forever to read; _fault_of_sizes rejects them.
            has_true_sizes = sum(e.file_size for e in entries) <= Path(path).stat().st_size
            damaged = archive.testzip() if has_checksums and has_true_sizes else None
    except Exception as error:  # any error of zipfile on damaged bytes
        return f"cannot be read, it may be truncated ({error}). Get it again."
    if damaged is None:
        return ""
    return f"is damaged: the checksum of its entry {damaged[:80]!r} is wrong. Get it again."


def _fault_of_sizes(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            fault = _fault_of_directory(file, size) or _fault_of_entries(file, size)
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        fault = f"it is no readable archive: {error}"
    if not fault:
        return ""
    return (
        f"cannot be read, it may be truncated ({fault}). Get it again, or write it anew with "
        "torch.save."
    )


def _fault_of_directory(file: BinaryIO, size: int) -> str:
    """Return why readers may find different directories; empty if only one is possible."""
    fault = "its directory is not where torch.save puts it"
    end = size - END_BYTES
    if end < LOCATOR64_BYTES + END64_BYTES:
        return fault
    signature, *_, length, offset, comment = struct.unpack(
        "<4s4H2LH", _read_at(file, end, END_BYTES)
    )
    if signature != END or comment:
        return fault
    locator = _read_at(file, end - LOCATOR64_BYTES, LOCATOR64_BYTES)
    signature, _, end64, _ = struct.unpack("<4sLQL", locator)
    if signature == LOCATOR64:
        end -= LOCATOR64_BYTES + END64_BYTES
        record = _read_at(file, end, END64_BYTES)
        if end64 != end or not record.startswith(END64):
            return fault
        length, offset = struct.unpack("<2Q", record[40:])
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


def _read_at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _read_head(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)
