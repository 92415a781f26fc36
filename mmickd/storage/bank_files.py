"""One bank as three files: reading what anybody may have written, without believing it."""

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
from mmickd.storage.files import is_old, refuse_link, replacing, sha256
from mmickd.storage.image_names import CHECKSUM, NAMES, write_names
from mmickd.storage.manifest import MANIFEST, read_manifest, write_manifest
from mmickd.structures import Samples
from mmickd.utils.distributed import rows_per_chunk
from mmickd.utils.quoting import one_line

FORMAT_VERSION = 1
TENSORS = "bank.safetensors"
FILES = (TENSORS, NAMES, MANIFEST)
TEMPORARIES = tuple(f".{name}." for name in FILES)
"""How names of files begin that are still being written."""
DTYPES = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64}
"""Of stored tensors, by the names that safetensors gives them."""


class BankMismatch(Exception):
    """There is a bank, but not the one that was asked for; the message goes on 'the bank ...'."""


def fingerprint_of(fields: dict[str, Any]) -> str:
    """Name of the folder of the bank that ``fields`` describe."""
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
        folder: made where it is missing.
        bank: to be written.
        fields: all that the bank depends on.
        about: names for people to read.
        names: of the images that rows come from.

    Raises:
        OSError: if the folder cannot be written, or is a link, which could lead out of the cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_link(folder)
    for path in folder.iterdir():
        if path.name.startswith(TEMPORARIES) and is_old(path.lstat().st_mtime):
            path.unlink()
    tensors = {name: getattr(bank.samples, name).cpu() for name in Samples.names()}
    with replacing(folder / TENSORS) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # so it calls a full disk
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
    """The bank that ``fields`` describe; what is read is looked at before it is allocated.

    Args:
        folder: where it lies.
        fields: all that it depends on.
        width: of its features; None: any.

    Raises:
        BankMismatch: if it is not this bank.
        OSError: if there is none, or something else than files.
        Exception: whatever else reading raises that anybody may have written.
    """
    refuse_link(folder)
    manifest = read_manifest(folder)
    if manifest["format"] != FORMAT_VERSION:
        found = one_line(repr(manifest["format"]))
        raise BankMismatch(f"is of format {found}, this version writes {FORMAT_VERSION}")
    if manifest["fields"] != json.loads(json.dumps(fields)):
        other = sorted(k for k in fields if manifest["fields"].get(k) != fields[k])
        raise BankMismatch(f"is of another {', '.join(other) or 'bank'}")
    if sha256(folder / TENSORS) != manifest["sha256"]:
        raise BankMismatch("is truncated or was altered (checksum)")
    bank = _read_tensors(folder / TENSORS, manifest, width)
    capacity = fields.get("capacity_per_class", "None")
    if capacity != "None" and bank.max_class_size > int(capacity):
        raise ValueError(f"a class has {bank.max_class_size} rows, more than its capacity")
    return bank


def _read_tensors(path: Path, manifest: dict[str, Any], width: int | None) -> MemoryBank:
    """The four tensors of a bank that has rows, and nothing else."""
    num_classes, rows, fields = manifest["num_classes"], manifest["rows"], manifest["fields"]
    if num_classes != fields.get("num_classes", num_classes):
        raise ValueError("num_classes of manifest and teacher differ")
    for what, number in (("num_classes", num_classes), ("rows", rows)):
        if type(number) is not int or number < 1:
            raise ValueError(f"{what} in {MANIFEST} is no positive integer")
    with safe_open(path, "pt") as file:
        about = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        found = {name: (s.get_dtype(), s.get_shape()) for name, s in about.items()}
    if set(found) != set(Samples.names()):
        raise ValueError(f"{TENSORS} does not hold the tensors of a bank")
    stored, shape = found["features"]
    own_width = shape[1] if len(shape) == 2 else 0
    wanted = {
        "features": (stored, [rows, own_width]),
        "logits": (stored, [rows, num_classes]),
        "labels": ("I64", [rows]),
        "ids": ("I64", [rows]),
    }
    for name, form in wanted.items():
        if found[name] != form or stored not in ("F16", "F32") or own_width < 1:
            raise ValueError(f"{name} are {found[name]}, which no bank has")
    dtype = str(DTYPES[stored])
    if (own_width, dtype) != (width or own_width, fields.get("dtype", dtype)):
        raise ValueError(f"features are {found['features']}, which the teacher's are not")
    tensors = {name: _read_rows(path, name, *found[name]) for name in Samples.names()}
    for name in ("features", "logits"):
        if not is_finite(tensors[name]):
            raise ValueError(f"{name} hold NaN or Inf")
    return MemoryBank.from_sorted(Samples(**tensors), num_classes)


def _read_rows(path: Path, name: str, stored: str, shape: list[int]) -> Tensor:
    """One tensor of a file, in memory of its own."""
    rows = torch.empty(shape, dtype=DTYPES[stored])
    step = rows_per_chunk(tuple(shape), rows.dtype)
    for start in range(0, shape[0], step):
        # Opened for each piece: what was read stays in memory as long as the file is open.
        with safe_open(path, "pt") as file:
            rows[start : start + step] = file.get_slice(name)[start : start + step]
    return rows
