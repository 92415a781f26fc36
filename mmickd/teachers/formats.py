"""What a file is by its bytes: a whole checkpoint, a damaged one, or none at all."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

ARCHIVE = b"PK\x03\x04"
"""How a zip file begins, which torch.save writes."""
PICKLED = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""The number at the beginning of what torch.save wrote before torch 1.6."""
HEAD_BYTES = 512

_OTHERS = {
    b"<": "is a web page (HTML) or a server's message. Download the file itself",
    b"version https://git-lfs": "is a pointer of git-LFS. Get the file itself with `git lfs pull`",
    b"\x89HDF": "is an HDF5 file. Save the model's state_dict with torch.save",
}


def is_safetensors(path: str | Path) -> bool:
    """Whether the file is one of safetensors: the length of a JSON header, then the header."""
    head = _head(path)
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < Path(path).stat().st_size


def fault_of_file(path: str | Path) -> str:
    """Why a file is no whole checkpoint, with the remedy.

    Archives of torch.save have a checksum of each entry, which torch does not look at. The older
    format and safetensors have none.

    Args:
        path: a local file.

    Returns:
        What is to be said after the file's name; empty if nothing speaks against it.
    """
    try:
        head = _head(path)
        if head.startswith(ARCHIVE):
            return _fault_of_archive(path)
        if PICKLED in head or is_safetensors(path):
            return ""
    except OSError as error:
        return f"cannot be read ({error})."
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((words for start, words in _OTHERS.items() if text.startswith(start)), None)
    if not head:
        kind = "is empty. Get it again"
    elif head[0] == 8 and head[2:3] == b"\x12":  # protobuf: a version, then the producer's name
        kind = "is an ONNX model. Save the model's state_dict with torch.save"
    return f"{kind or 'is no file of torch.save or safetensors. Give the right one'}."


def _fault_of_archive(path: str | Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                return "is a TorchScript model. Save the model's state_dict with torch.save."
            # all of them 0: written with torch.serialization.set_crc32_options(False)
            has_sums = any(entry.CRC for entry in entries)
            # else reading it could go on for ever: check_archive is about that
            is_honest = sum(entry.file_size for entry in entries) <= Path(path).stat().st_size
            damaged = archive.testzip() if has_sums and is_honest else None
    except Exception as error:  # whatever zipfile makes of damaged bytes
        return f"cannot be read, it may be truncated ({error}). Get it again."
    if damaged is None:
        return ""
    return f"is damaged: the checksum of its entry {damaged[:80]!r} is wrong. Get it again."


def _head(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)
