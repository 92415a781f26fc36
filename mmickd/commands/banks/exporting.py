"""A bank as a file that other programs read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmickd.banks.memory_bank import MemoryBank
from mmickd.commands.arguments import read_config
from mmickd.commands.banks.building import bank_of
from mmickd.storage.bank_files import read_bank
from mmickd.storage.cache import FINGERPRINT, BankCache
from mmickd.storage.entry import describe_read_error
from mmickd.storage.files import read_manifest
from mmickd.storage.image_names import read_names
from mmickd.utils.atomic import atomic_write
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json

Write = Callable[[Path, dict[str, Any]], None]
ROWS_OF_A_GROUP = 2**14
"""Of parquet: what readers take into memory at once."""


def export(args: argparse.Namespace) -> int:
    """Write a bank as the arguments say.

    Returns:
        1 if rows are without the path of their image, else 0.

    Raises:
        ICKDError: if there is no such bank, or it cannot be written so.
    """
    write = _writer(args.out)
    folder = _folder(args)
    bank, level = _read(folder)
    if args.level not in (None, level):
        raise ICKDError(f"the bank in {folder} is of level {level}, not of --level={args.level}.")
    names: dict[int, str] = {}
    why = ""
    try:
        names = read_names(folder)
    except ICKDError as error:
        why = f": {error}"
    columns = columns_of(bank, names)
    unknown = int((columns["images"] == "").sum())
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(args.out) as temporary:
            write(temporary, columns)
    except OSError as error:
        raise ICKDError(f"--out={args.out} cannot be written: {error}") from error
    if unknown:
        print(f"warning: the image of {unknown} rows is not known{why}", file=sys.stderr)
    print(f"{len(bank)} rows of the {level} bank {folder}")
    print(f"written to {args.out}")
    if args.json is not None:
        found = {"file": str(args.out), "folder": str(folder), "level": level}
        write_json(args.json, {**found, "rows": len(bank), "rows_without_image": unknown})
    return int(unknown > 0)


def columns_of(bank: MemoryBank, names: dict[int, str]) -> dict[str, Any]:
    """The rows of a bank, as arrays of equal length.

    Args:
        bank: ``M`` rows.
        names: by id, the path of an image.

    Returns:
        ``images`` (M,) str, empty where not known; ``ids`` and ``labels`` (M,) int64; ``features``
        (M, D) and ``logits`` (M, C) in the dtype of the bank.

    Example:
        >>> import torch
        >>> from mmickd.structures import Samples
        >>> ids = torch.tensor([5, 6])
        >>> bank = MemoryBank(Samples(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), ids), 2)
        >>> columns_of(bank, {5: "cat.png"})["images"].tolist()
        ['cat.png', '']
    """
    return {
        "images": np.array([names.get(one, "") for one in bank.ids.tolist()], dtype=np.str_),
        "ids": bank.ids.numpy(),
        "labels": bank.labels.numpy(),
        "features": bank.features.numpy(),
        "logits": bank.logits.numpy(),
    }


def _writer(out: Path) -> Write:
    """What writes a file of this name; found before anything long happens."""
    writers = {".npz": _npz, ".parquet": _parquet}
    if out.suffix not in writers:
        raise ICKDError(f"--out={out} must end in .npz or .parquet.")
    if out.exists():
        raise ICKDError(f"{out} exists already: remove it, or name another file.")
    return writers[out.suffix]()


def _npz() -> Write:
    def write(file: Path, columns: dict[str, Any]) -> None:
        with file.open("wb") as opened:  # numpy adds an ending to a name that it does not know
            np.savez(opened, **columns)

    return write


def _parquet() -> Write:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ICKDError(
            "a .parquet file needs pyarrow, which is not installed: pip install 'mmickd[export]', "
            "or name a .npz file."
        ) from error

    def write(file: Path, columns: dict[str, Any]) -> None:
        arrays = {}
        for name, values in columns.items():
            if values.ndim == 2:
                flat = pyarrow.array(values.reshape(-1))
                arrays[name] = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
            elif name == "images":
                # a path may hold bytes that are no UTF-8, which this format cannot hold
                paths = [p.encode("utf-8", "backslashreplace").decode() for p in values.tolist()]
                arrays[name] = pyarrow.array(paths).dictionary_encode()
            else:
                arrays[name] = pyarrow.array(values)
        parquet.write_table(pyarrow.table(arrays), file, row_group_size=ROWS_OF_A_GROUP)

    return write


def _folder(args: argparse.Namespace) -> Path:
    """Where the bank lies; that of a config is built if need be."""
    if FINGERPRINT.fullmatch(args.bank):
        return BankCache(args.cache_dir).root / args.bank
    if Path(args.bank).is_dir():
        return Path(args.bank)
    return bank_of(read_config(args.bank, args.cfg_options), args.level)


def _read(folder: Path) -> tuple[MemoryBank, str]:
    """A bank, whatever it depends on, and its level."""
    try:
        fields = read_manifest(folder)["fields"]
        return read_bank(folder, fields), str(fields.get("level"))
    except Exception as error:  # whatever files raise that anybody may have written
        raise ICKDError(
            f"the bank in {folder} {describe_read_error(error)}: `mmickd bank list` shows what "
            "there is, and `mmickd bank CONFIG` builds the bank of a config."
        ) from error
