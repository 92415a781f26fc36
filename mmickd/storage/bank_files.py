"""Storage of a bank in three files, which are validated before use, as they may be changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmickd.banks.chunked_rows import is_finite
from mmickd.banks.memory_bank import MemoryBank
from mmickd.storage.files import (
    MANIFEST,
    is_leftover,
    read_manifest,
    refuse_link,
    sha256,
    write_manifest,
)
from mmickd.storage.image_names import CHECKSUM, NAMES, write_names
from mmickd.structures import Samples
from mmickd.utils.atomic import atomic_write
from mmickd.utils.distributed import rows_per_chunk
from mmickd.utils.text import shorten

FORMAT_VERSION = 1
TENSORS = "bank.safetensors"
FILES = (TENSORS, NAMES, MANIFEST)
TEMPORARIES = tuple(f".{name}." for name in FILES)
"""Beginnings of the names of files that are still being written."""
DTYPES = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64}
"""Dtypes of stored tensors, by the names that safetensors gives them."""


class BankMismatch(Exception):
    """Error of a folder with another bank than the expected one; completes 'the bank ...'."""


def fingerprint_of(cache_key: dict[str, Any]) -> str:
    """Return the name of the folder of a bank: a digest of its cache key."""
    text = json.dumps({"format": FORMAT_VERSION, **cache_key}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def write_bank(
    folder: Path,
    bank: MemoryBank,
    cache_key: dict[str, Any],
    description: dict[str, str],
    names: Iterable[str] = (),
) -> None:
    """Write all files of a bank; the manifest is last, as it makes the bank valid.

    Args:
        folder: Folder of the bank; it is created if it is missing.
        bank: Bank to write.
        cache_key: Settings and digests that the bank depends on, by name.
        description: Information for people, such as the teacher's name.
        names: Names of the images of the rows.

    Raises:
        OSError: If the folder cannot be written, or is a link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_link(folder)
    for path in folder.iterdir():
        if path.name.startswith(TEMPORARIES) and is_leftover(path.lstat().st_mtime):
            path.unlink()
    tensors = {name: getattr(bank.samples, name).cpu() for name in Samples.names()}
    with atomic_write(folder / TENSORS) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # raised for a full disk
            raise OSError(str(error)) from error
        checksum = sha256(temporary)
    manifest = {
        "format": FORMAT_VERSION,
        "num_classes": bank.num_classes,
        "rows": len(bank),
        "sha256": checksum,
        CHECKSUM: write_names(folder, names),
        "fields": cache_key,
        "about": description,
    }
    write_manifest(folder, manifest)


def read_bank(folder: Path, cache_key: dict[str, Any], width: int | None = None) -> MemoryBank:
    """Return the bank in a folder; its size is validated before memory is allocated.

    Args:
        folder: Folder of the bank.
        cache_key: Settings and digests that the bank depends on, by name.
        width: Expected width of the features; None: any.

    Raises:
        BankMismatch: If the folder holds another bank.
        OSError: If the folder holds no bank, or has anything but regular files.
        Exception: Any other error that changed files cause.
    """
    refuse_link(folder)
    manifest = read_manifest(folder)
    if manifest["format"] != FORMAT_VERSION:
        stored_format = shorten(repr(manifest["format"]))
        raise BankMismatch(f"is of format {stored_format}, this version writes {FORMAT_VERSION}")
    if manifest["fields"] != json.loads(json.dumps(cache_key)):
        differing = sorted(k for k in cache_key if manifest["fields"].get(k) != cache_key[k])
        raise BankMismatch(f"is of another {', '.join(differing) or 'bank'}")
    if sha256(folder / TENSORS) != manifest["sha256"]:
        raise BankMismatch("is truncated or was altered (checksum)")
    bank = _read_tensors(folder / TENSORS, manifest, width)
    capacity = cache_key.get("capacity_per_class", "None")
    if capacity != "None" and bank.max_class_size > int(capacity):
        raise ValueError(f"a class has {bank.max_class_size} rows, more than its capacity")
    return bank


def _read_tensors(path: Path, manifest: dict[str, Any], width: int | None) -> MemoryBank:
    """Return the bank of a tensor file; the file must have exactly the tensors of the manifest."""
    num_classes, rows, cache_key = manifest["num_classes"], manifest["rows"], manifest["fields"]
    if num_classes != cache_key.get("num_classes", num_classes):
        raise ValueError("num_classes of manifest and teacher differ")
    for name, number in (("num_classes", num_classes), ("rows", rows)):
        if type(number) is not int or number < 1:
            raise ValueError(f"{name} in {MANIFEST} is no positive integer")
    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        forms = {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()}
    if set(forms) != set(Samples.names()):
        raise ValueError(f"{TENSORS} does not hold the tensors of a bank")
    stored, shape = forms["features"]
    stored_width = shape[1] if len(shape) == 2 else 0
    expected = {
        "features": (stored, [rows, stored_width]),
        "logits": (stored, [rows, num_classes]),
        "labels": ("I64", [rows]),
        "ids": ("I64", [rows]),
    }
    for name, form in expected.items():
        if forms[name] != form or stored not in ("F16", "F32") or stored_width < 1:
            raise ValueError(f"{name} are {forms[name]}, which is invalid in a bank")
    dtype = str(DTYPES[stored])
    if (stored_width, dtype) != (width or stored_width, cache_key.get("dtype", dtype)):
        raise ValueError(f"features are {forms['features']}, unlike the teacher's")
    tensors = {name: _read_rows(path, name, *forms[name]) for name in Samples.names()}
    for name in ("features", "logits"):
        if not is_finite(tensors[name]):
            raise ValueError(f"{name} hold NaN or Inf")
    return MemoryBank.from_sorted(Samples(**tensors), num_classes)


def _read_rows(path: Path, name: str, stored: str, shape: list[int]) -> Tensor:
    """Return a copy of one tensor of a file, so that the file's memory can be freed."""
    rows = torch.empty(shape, dtype=DTYPES[stored])
    step = rows_per_chunk(tuple(shape), rows.dtype)
    for start in range(0, shape[0], step):
        # The file is opened for each chunk, as chunks stay in memory while the file is open.
        with safe_open(path, "pt") as file:
            rows[start : start + step] = file.get_slice(name)[start : start + step]
    return rows
