"""List, verify and prune the memory banks that runs have cached."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from mmickd.commands.arguments import run_command
from mmickd.storage.bank_files import FORMAT_VERSION, read_manifest
from mmickd.storage.cache import BankCache
from mmickd.storage.entry import Entry
from mmickd.storage.home import default_cache_dir
from mmickd.utils.quoting import one_line

HEAD = ("folder", "level", "teacher", "rows", "classes", "MiB", "last used", "state")
WIDTH = 40
"""Characters of a name that are shown."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="?", default="list", choices=["list", "verify", "prune"])
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=default_cache_dir(),
        help="folder of the banks; default: $MMICKD_CACHE_DIR, else ~/.cache/mmickd",
    )
    which = parser.add_argument_group("which banks prune removes (those in use stay)")
    which.add_argument(
        "--max-gib", type=_amount, metavar="X", help="least recently used, until X GiB are left"
    )
    which.add_argument(
        "--older-than", type=_amount, metavar="DAYS", help="not used for so many days"
    )
    which.add_argument(
        "--broken", action="store_true", help="incomplete or altered (reads every bank)"
    )
    which.add_argument("--all", action="store_true", help="all of them")
    which.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    args = parser.parse_args(argv)
    chosen = args.max_gib is not None or args.older_than is not None or args.broken or args.all
    if args.command == "prune" and not chosen:
        parser.error("prune needs --max-gib, --older-than, --broken or --all")
    if args.command != "prune" and (chosen or args.dry_run):
        parser.error("--max-gib, --older-than, --broken, --all and --dry-run belong to prune")
    return args


def _amount(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def list_banks(cache: BankCache) -> None:
    """Print a table, the bank used last at its end."""
    found = cache.entries()
    rows = [HEAD, *map(row_of, found)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows if found else ():
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    print(_total(cache))


def row_of(entry: Entry) -> tuple[str, ...]:
    """A row of the table, from the manifest of a bank; its tensors are not looked at."""
    shown, state = [""] * 4, "incomplete"
    if entry.is_whole:
        try:
            manifest = read_manifest(entry.folder)
            about = manifest["about"] if isinstance(manifest.get("about"), dict) else {}
            names = [about.get(f"teacher_{key}") for key in ("checkpoint", "config")]
            teacher = ", ".join(str(name) for name in names if name)
            level = manifest["fields"].get("level", "")
            shown = [level, teacher, manifest.get("rows", ""), manifest.get("num_classes", "")]
            state = "ok" if manifest.get("format") == FORMAT_VERSION else "other format"
        except Exception:  # whatever a file leads to that anybody may have written
            state = "broken"
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    cells = [one_line(value, WIDTH) for value in shown]
    return entry.folder.name, *cells, f"{entry.nbytes / 2**20:.1f}", used, state


def verify(cache: BankCache) -> int:
    """Read every bank.

    Returns:
        1 if one cannot be used, else 0.
    """
    broken = 0
    for entry in cache.entries():
        fault, state = entry.fault(), row_of(entry)[-1]
        broken += bool(fault)
        other = "skipped, it is of another format" if state == "other format" else "ok"
        print(f"{entry.folder.name}: {fault or other}")
    print(f"{broken} broken in {cache.root}")
    return int(broken > 0)


def prune(cache: BankCache, args: argparse.Namespace) -> None:
    """Remove what the arguments choose."""
    oldest = time.time() - (args.older_than or 0) * 24 * 3600

    def wanted(entry: Entry) -> bool:
        old = args.older_than is not None and entry.used < oldest
        return args.all or old or (args.broken and bool(entry.fault()))

    verb = "would remove" if args.dry_run else "removed"
    for entry, gone in cache.prune(wanted, args.max_gib, dry_run=args.dry_run):
        about = f"{entry.folder.name} ({entry.nbytes / 2**20:.1f} MiB)"
        print(f"{verb} {about}" if gone else f"kept {about}: it is in use, or cannot be removed")
    if not args.dry_run:
        print(_total(cache))


def _total(cache: BankCache) -> str:
    found = cache.entries()
    gib = sum(entry.nbytes for entry in found) / 2**30
    return f"{len(found)} bank{'s' * (len(found) != 1)}, {gib:.2f} GiB in {cache.root}"


def main(argv: Sequence[str] | None = None) -> int | None:
    """List, verify or prune, as the command line says."""
    args = parse_args(argv)
    cache = BankCache(args.cache_dir)
    if args.command == "verify":
        return verify(cache)
    if args.command == "prune":
        prune(cache, args)
    else:
        list_banks(cache)
    return None


if __name__ == "__main__":
    run_command(main)
