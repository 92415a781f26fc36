"""The banks of a config, built or found before any training needs them."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine import dist
from mmengine.config import Config

from mmickd.commands.arguments import load_launched_config
from mmickd.commands.launching import prepare_launch
from mmickd.commands.needed_files import check_files
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.commands.terminal import console, table
from mmickd.hooks.entries import hook_entry
from mmickd.storage.cache import StoredBank
from mmickd.storage.entry import entry_of
from mmickd.storage.files import read_manifest
from mmickd.utils.errors import ICKDError
from mmickd.utils.json_files import write_json


@dataclass(frozen=True)
class BankFacts:
    """A bank that a config's runs will find.

    Args:
        level: of its rows.
        folder: where it lies.
        rows: how many.
        bytes: of all of its files.
        found: whether it was there already.
    """

    level: str
    folder: str
    rows: int
    bytes: int
    found: bool


def build(args: argparse.Namespace) -> None:
    """Build the banks of a config, or read them where they are there, and say so."""
    begin = time.monotonic()
    banks = banks_of(load_launched_config(args))
    if not dist.is_main_process():
        return
    seconds = time.monotonic() - begin
    head = ("level", "rows", "MiB", "")
    rows = [
        (one.level, one.rows, f"{one.bytes / 2**20:.1f}", "found" if one.found else "built")
        for one in banks
    ]
    console().print(table(f"ready after {seconds:.1f} s", head, rows))
    for one in banks:
        print(f"{one.level} bank: {one.folder}")
    if args.json is not None:
        write_json(args.json, {"seconds": seconds, "banks": [asdict(one) for one in banks]})
        print(f"written to {args.json}")


def banks_of(cfg: Config) -> list[BankFacts]:
    """The banks of a config, with the names of their images, in the cache.

    Args:
        cfg: the whole config.

    Returns:
        By level, what lies there now; nothing on other ranks than 0.

    Raises:
        ICKDError: if the config's runs need no bank, keep none, or cannot begin.
    """
    options = hook_entry(cfg).get("bank")
    if isinstance(options, dict) and options.get("cache_dir", "auto") is None:
        raise ICKDError(
            f"{cfg.filename} has bank.cache_dir=None, by which its banks stay in memory: set it to "
            "a folder, or leave it out, so that a run can find what is built now."
        )
    check_files(cfg)
    prepare_launch(cfg)
    with open_run(cfg) as run:
        if not run.stored:
            raise ICKDError(f"{cfg.filename} needs no bank before training: {_why_none(run)}.")
        if not dist.is_main_process():
            return []
        return [_facts(level, stored) for level, stored in run.stored.items()]


def _why_none(run: OpenRun) -> str:
    if run.distiller.teacher.is_frozen:
        return "none of its losses retrieves rows"
    return (
        "its teacher learns while the student does, and fills a queue in memory. Only a frozen "
        "teacher (OfflineTeacher, or SelfTeacher with mode='checkpoint') has a bank"
    )


def _facts(level: str, stored: StoredBank) -> BankFacts:
    folder = stored.folder
    try:
        stored.cache.complete(stored.fields)
    except OSError as error:  # no bank was written here, or its folder can only be read
        if not stored.was_cached:
            raise _unwritten(stored) from error
        print(f"warning: no names of images can be written ({error})", file=sys.stderr)
    entry = entry_of(folder)
    if entry is None or not entry.is_whole:
        raise _unwritten(stored)
    return BankFacts(
        level, str(folder), read_manifest(folder)["rows"], entry.nbytes, stored.was_cached
    )


def _unwritten(stored: StoredBank) -> ICKDError:
    return ICKDError(
        f"the bank was built, but it does not lie in {stored.folder}, see the warnings above: set "
        "bank.cache_dir, or MMICKD_CACHE_DIR, to a folder that can be written."
    )


def bank_of(cfg: Config, level: str | None) -> Path:
    """The folder of one bank of a config, built if need be.

    Args:
        cfg: the whole config.
        level: which; None: the only one.

    Raises:
        ICKDError: if there is none of this level, or several to choose from; or as
            :func:`banks_of`.
    """
    folders = {one.level: Path(one.folder) for one in banks_of(cfg)}
    if level is None and len(folders) == 1:
        return next(iter(folders.values()))
    if level not in folders:
        raise ICKDError(
            f"{cfg.filename} has banks of the levels {', '.join(folders)}: name one by --level."
        )
    return folders[level]
