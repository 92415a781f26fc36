"""``bank build``: build the banks of a config, or find them in the cache, without training."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from mmengine import dist
from mmengine.config import Config

from mmickd.commands.arguments import load_launched_config
from mmickd.commands.launching import prepare_launch
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.commands.terminal import console, table
from mmickd.hooks.entries import hook_entry
from mmickd.hooks.needed_files import check_files
from mmickd.storage.cache import StoredBank
from mmickd.storage.entry import entry_of
from mmickd.storage.files import read_manifest
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json


def build(args: argparse.Namespace) -> None:
    """Build the banks of a config, or find them in the cache, and print a table of them."""
    begin = time.monotonic()
    banks = banks_of(load_launched_config(args))
    if not dist.is_main_process():
        return
    seconds = time.monotonic() - begin
    head = ("level", "rows", "MiB", "state")
    rows = [
        (b["level"], b["rows"], f"{b['bytes'] / 2**20:.1f}", "found" if b["found"] else "built")
        for b in banks
    ]
    console().print(table(f"ready after {seconds:.1f} s", head, rows))
    for bank in banks:
        print(f"{bank['level']} bank: {bank['folder']}")
    if args.json is not None:
        write_json(args.json, {"seconds": seconds, "banks": banks})
        print(f"written to {args.json}")


def banks_of(cfg: Config) -> list[dict[str, Any]]:
    """Return the banks of a config, one for each level; missing banks are built.

    The names of the images are written as well.

    Args:
        cfg: The whole config.

    Returns:
        For each bank its ``level``, ``folder``, ``rows``, ``bytes`` of all files, and ``found``
        (False if the bank was built now). Ranks other than 0 return an empty list.

    Raises:
        ICKDError: If runs of the config need no bank, keep the bank in memory, or cannot begin.
    """
    options = hook_entry(cfg).get("bank")
    if isinstance(options, dict) and options.get("cache_dir", "auto") is None:
        raise ICKDError(
            f"{cfg.filename} has bank.cache_dir=None, so its banks are kept in memory only. Set it "
            "to a folder, or remove it, so that runs use the banks that are built now."
        )
    check_files(cfg)
    prepare_launch(cfg)
    with open_run(cfg) as run:
        if not run.stored:
            raise ICKDError(f"{cfg.filename} needs no bank before training: {_why_no_bank(run)}.")
        if not dist.is_main_process():
            return []
        return [_bank_as_json(level, stored) for level, stored in run.stored.items()]


def bank_of(cfg: Config, level: str | None) -> Path:
    """Return the folder of one bank of a config; a missing bank is built.

    Args:
        cfg: The whole config.
        level: Level of the bank; None: the only level.

    Raises:
        ICKDError: If there is no bank of this level, or if ``level`` is None and there are several
            banks; see also :func:`banks_of`.
    """
    folders = {bank["level"]: Path(bank["folder"]) for bank in banks_of(cfg)}
    if level is None and len(folders) == 1:
        return next(iter(folders.values()))
    if level not in folders:
        raise ICKDError(
            f"{cfg.filename} has banks of the levels {', '.join(folders)}: choose one by --level."
        )
    return folders[level]


def _why_no_bank(run: OpenRun) -> str:
    if run.distiller.teacher.is_frozen:
        return "no loss retrieves rows"
    return (
        "its teacher learns with the student, and fills queues in memory. Only a frozen "
        "teacher (OfflineTeacher, or SelfTeacher with mode='checkpoint') has a bank"
    )


def _bank_as_json(level: str, stored: StoredBank) -> dict[str, Any]:
    """Return the entry of a bank in the JSON file; missing names of images are written."""
    folder = stored.folder
    not_written = ICKDError(
        f"the bank was built, but could not be written to {folder}, see the warnings above: set "
        "bank.cache_dir, or MMICKD_CACHE_DIR, to a folder that can be written."
    )
    try:
        stored.cache.complete(stored.cache_key)
    except OSError as error:  # the bank was not written, or its folder is read-only
        if not stored.was_cached:
            raise not_written from error
        print(f"warning: the names of its images cannot be written ({error})", file=sys.stderr)
    entry = entry_of(folder)
    if entry is None or not entry.is_whole:
        raise not_written
    return {
        "level": level,
        "folder": str(folder),
        "rows": read_manifest(folder)["rows"],
        "bytes": entry.nbytes,
        "found": stored.was_cached,
    }
