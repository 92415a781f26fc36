"""``bank export``: write the rows of a bank to a file that other programs read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmickd.banks.memory_bank import MemoryBank
from mmickd.commands.arguments import read_config
from mmickd.commands.bank_building import bank_of
from mmickd.storage.bank_files import read_bank
from mmickd.storage.cache import FINGERPRINT, BankCache
from mmickd.storage.entry import describe_read_error
from mmickd.storage.export import columns_of, columns_writer
from mmickd.storage.files import read_manifest
from mmickd.storage.image_names import read_names
from mmickd.utils.atomic import atomic_write
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json


def export(args: argparse.Namespace) -> int:
    """Write a bank to the file ``args.out``.

    Returns:
        1 if the image of a row is unknown, else 0.

    Raises:
        ICKDError: If there is no such bank, or the file cannot be written.
    """
    write = columns_writer(args.out.suffix)
    if write is None:
        raise ICKDError(f"--out={args.out} must end in .npz or .parquet.")
    if args.out.exists():
        raise ICKDError(f"{args.out} exists already: remove it, or name another file.")
    folder = _folder(args)
    bank, level = _read(folder)
    if args.level not in (None, level):
        raise ICKDError(f"the bank in {folder} is of level {level}, not of --level={args.level}.")
    names, reason = {}, ""
    try:
        names = read_names(folder)
    except ICKDError as error:
        reason = f": {error}"
    columns = columns_of(bank, names)
    unknown = int((columns["images"] == "").sum())
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(args.out) as temporary:
            write(temporary, columns)
    except OSError as error:
        raise ICKDError(f"--out={args.out} cannot be written: {error}") from error
    if unknown:
        print(f"warning: the image of {unknown} rows is unknown{reason}", file=sys.stderr)
    print(f"{len(bank)} rows of the {level} bank {folder}")
    print(f"written to {args.out}")
    if args.json is not None:
        values = {"file": str(args.out), "folder": str(folder), "level": level}
        write_json(args.json, {**values, "rows": len(bank), "rows_without_image": unknown})
    return int(unknown > 0)


def _folder(args: argparse.Namespace) -> Path:
    """Return the folder of the bank; a missing bank of a config is built."""
    if FINGERPRINT.fullmatch(args.bank):
        return BankCache(args.cache_dir).root / args.bank
    if Path(args.bank).is_dir():
        return Path(args.bank)
    return bank_of(read_config(args.bank, args.cfg_options), args.level)


def _read(folder: Path) -> tuple[MemoryBank, str]:
    """Read a bank of any run; return the bank and its level."""
    try:
        cache_key = read_manifest(folder)["fields"]
        return read_bank(folder, cache_key), str(cache_key.get("level"))
    except Exception as error:  # the files may hold anything
        raise ICKDError(
            f"the bank in {folder} {describe_read_error(error)}: `mmickd bank list` lists the "
            "banks in the cache, and `mmickd bank CONFIG` builds the bank of a config."
        ) from error
