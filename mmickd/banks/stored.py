"""One stored bank as files: reading what anybody may have written, without believing it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import Samples

FORMAT_VERSION = 1
TENSORS = "bank.safetensors"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
"""Ours have about 1 kB."""
MAX_WORDS = 200
"""Characters of an error that are shown."""
CHECKED_ROWS = 2**12
"""Rows that are looked through for NaN at once."""
FLOATS = ("F16", "F32")
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    SafetensorError,
)
"""What reading files raises that anybody may have written."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder.

    Raises:
        OSError: if there is none, or something else than a file.
        ValueError: if it is too large, or no dict in JSON.
    """
    with open_regular(folder / MANIFEST) as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise ValueError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = json.loads(data)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("fields"), dict):
        raise ValueError(f"{MANIFEST} does not describe a bank")
    return manifest


def mismatch(manifest: dict[str, Any], fields: dict[str, Any], tensors: Path) -> str:
    """Why a folder does not hold the bank that it is named for; empty if it does."""
    if manifest["format"] != FORMAT_VERSION:
        found = one_line(repr(manifest["format"]))
        return f"is of format {found}, this version writes {FORMAT_VERSION}"
    if manifest["fields"] != json.loads(json.dumps(fields)):
        other = sorted(k for k in fields if manifest["fields"].get(k) != fields[k])
        return f"is of another {', '.join(other) or 'bank'}"
    if sha256(tensors) != manifest["sha256"]:
        return "is truncated or was altered (checksum)"
    return ""


def read_bank(folder: Path, manifest: dict[str, Any]) -> MemoryBank:
    """The bank in a folder, with shapes and types looked at before anything is allocated.

    Args:
        folder: with a tensor file whose checksum is right.
        manifest: its manifest.

    Raises:
        ValueError: if the tensors are no bank, or not of this manifest.
        SafetensorError: if the file does not hold what its header says.
    """
    num_classes, rows = manifest["num_classes"], manifest["rows"]
    if num_classes != manifest["fields"].get("num_classes", num_classes):
        raise ValueError("num_classes of manifest and teacher differ")
    with safe_open(folder / TENSORS, "pt") as file:
        about = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        found = {name: (s.get_dtype(), s.get_shape()) for name, s in about.items()}
    _check_layout(found, num_classes, rows)
    tensors = load_file(folder / TENSORS)
    for name in ("features", "logits"):
        if not _is_finite(tensors[name]):
            raise ValueError(f"{name} hold NaN or Inf")
    return MemoryBank(Samples(**tensors), num_classes)


def _is_finite(values: Tensor) -> bool:
    """Whether no row of fp16 or fp32 values holds NaN or Inf, several times faster than isfinite.

    These are the numbers whose exponent has all its bits set.
    """
    half = values.dtype == torch.float16
    bits, exponent = (torch.int16, 0x7C00) if half else (torch.int32, 0x7F800000)
    parts = values.view(bits).split(CHECKED_ROWS)
    return all(bool(((part & exponent) != exponent).all()) for part in parts)


def _check_layout(found: dict[str, tuple[str, list[int]]], num_classes: Any, rows: Any) -> None:
    """Refuse all but the four tensors of a bank that has rows.

    Args:
        found: by name, safetensors' name of the type, and the shape.
        num_classes: as the manifest says.
        rows: as the manifest says.

    Raises:
        ValueError: with what is wrong.
    """
    for what, number in (("num_classes", num_classes), ("rows", rows)):
        if type(number) is not int or number < 1:
            raise ValueError(f"{what} in {MANIFEST} is no positive integer")
    if set(found) != set(Samples.names()):
        raise ValueError(f"{TENSORS} does not hold the tensors of a bank")
    dtype, shape = found["features"]
    width = shape[1] if len(shape) == 2 else 0
    wanted = {
        "features": (dtype, [rows, width]),
        "logits": (dtype, [rows, num_classes]),
        "labels": ("I64", [rows]),
        "ids": ("I64", [rows]),
    }
    for name, (kind, size) in wanted.items():
        if found[name] != (kind, size) or dtype not in FLOATS or width < 1:
            raise ValueError(f"{name} are {found[name]}, which no bank has")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, but no link, device or pipe.

    Raises:
        OSError: if it is none, or cannot be opened.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not every system has them
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path.name} is no regular file")
    return os.fdopen(handle, "rb")


def sha256(path: Path) -> str:
    """Checksum of a regular file.

    Raises:
        OSError: if it is none, or cannot be read.
    """
    state = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(2**24):
            state.update(block)
    return state.hexdigest()


def one_line(text: Any) -> str:
    """What a file or an error says, fit for one line of a log."""
    line = " ".join(str(text).split())
    plain = "".join(c if c.isprintable() else "?" for c in line)
    return plain if len(plain) <= MAX_WORDS else f"{plain[:MAX_WORDS]}..."
