"""A bank as three files, which are validated before they are used: others may have changed them."""

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
    """There is a bank, but not the expected one; the message completes 'the bank ...'."""


def fingerprint_of(fields: dict[str, Any]) -> str:
    """Return the name of the folder of the bank that ``fields`` describe."""
    text = json.dumps({"format": FORMAT_VERSION, **fields}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def write_bank(
    folder: Path,
    bank: MemoryBank,
    fields: dict[str, Any],
    about: dict[str, str],
    names: Iterable[str] = (),
) -> None:
    """Write all files; the manifest, which makes the bank valid, comes last.

    Args:
        folder: Folder of the bank; made if it is missing.
        bank: Bank to write.
        fields: All that the bank depends on.
        about: Descriptions for people, such as the teacher's name.
        names: Names of the images that rows come from.

    Raises:
        OSError: if the folder cannot be written, or is a link.
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
        "fields": fields,
        "about": about,
    }
    write_manifest(folder, manifest)


def read_bank(folder: Path, fields: dict[str, Any], width: int | None = None) -> MemoryBank:
    """Return the bank that ``fields`` describe; its size is validated before memory is allocated.

    Args:
        folder: Folder of the bank.
        fields: All that the bank depends on.
        width: Width of its features; None: any.

    Raises:
        BankMismatch: if the folder holds another bank.
        OSError: if the folder holds no bank, or something else than regular files.
        Exception: any other error that changed files cause.
    """
    refuse_link(folder)
    manifest = read_manifest(folder)
    if manifest["format"] != FORMAT_VERSION:
        stored_format = shorten(repr(manifest["format"]))
        raise BankMismatch(f"is of format {stored_format}, this version writes {FORMAT_VERSION}")
    if manifest["fields"] != json.loads(json.dumps(fields)):
        differing = sorted(k for k in fields if manifest["fields"].get(k) != fields[k])
        raise BankMismatch(f"is of another {', '.join(differing) or 'bank'}")
    if sha256(folder / TENSORS) != manifest["sha256"]:
        raise BankMismatch("is truncated or was altered (checksum)")
    bank = _read_tensors(folder / TENSORS, manifest, width)
    capacity = fields.get("capacity_per_class", "None")
    if capacity != "None" and bank.max_class_size > int(capacity):
        raise ValueError(f"a class has {bank.max_class_size} rows, more than its capacity")
    return bank


def _read_tensors(path: Path, manifest: dict[str, Any], width: int | None) -> MemoryBank:
    """Return the bank of a tensor file that has exactly the four tensors of the manifest's bank."""
    num_classes, rows, fields = manifest["num_classes"], manifest["rows"], manifest["fields"]
    if num_classes != fields.get("num_classes", num_classes):
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
    if (stored_width, dtype) != (width or stored_width, fields.get("dtype", dtype)):
        raise ValueError(f"features are {forms['features']}, unlike the teacher's")
    tensors = {name: _read_rows(path, name, *forms[name]) for name in Samples.names()}
    for name in ("features", "logits"):
        if not is_finite(tensors[name]):
            raise ValueError(f"{name} hold NaN or Inf")
    return MemoryBank.from_sorted(Samples(**tensors), num_classes)


def _read_rows(path: Path, name: str, stored: str, shape: list[int]) -> Tensor:
    """Return one tensor of a file, copied so that the file's memory is freed."""
    rows = torch.empty(shape, dtype=DTYPES[stored])
    step = rows_per_chunk(tuple(shape), rows.dtype)
    for start in range(0, shape[0], step):
        # Opened for each chunk: what was read stays in memory as long as the file is open.
        with safe_open(path, "pt") as file:
            rows[start : start + step] = file.get_slice(name)[start : start + step]
    return rows
