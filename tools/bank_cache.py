"""List, verify and prune the memory banks that runs have cached."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# In a checkout its own package wins, so that this runs without an installation.
if (Path(__file__).absolute().parents[1] / "mmickd" / "__init__.py").is_file():
    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from mmickd.storage.cache import default_cache_dir
from mmickd.storage.eviction import prune
from mmickd.storage.inspection import OTHER_FORMAT, describe, fault_of
from mmickd.storage.inventory import Entry, entries
from mmickd.utils.cli import run_cli

HEAD = ("folder", "level", "teacher", "rows", "classes", "MiB", "last used", "state")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
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
    args.cache_dir = args.cache_dir.expanduser()
    return args


def _amount(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def list_banks(root: Path) -> None:
    """Print a table, the bank used last at its end."""
    rows = [HEAD]
    found = entries(root)
    for entry in found:
        about = describe(entry)
        rows.append(
            (
                entry.folder.name,
                about.level,
                about.teacher,
                about.rows,
                about.classes,
                f"{entry.nbytes / 2**20:.1f}",
                time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
                about.state,
            )
        )
    if found:
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
    print(_total(root, found))


def verify(root: Path) -> int:
    """Read every bank.

    Returns:
        1 if one cannot be used, else 0.
    """
    broken = 0
    for entry in entries(root):
        fault = fault_of(entry)
        broken += bool(fault)
        other = "skipped, it is of another format"
        sound = other if describe(entry).state == OTHER_FORMAT else "ok"
        print(f"{entry.folder.name}: {fault or sound}")
    print(f"{broken} broken in {root}")
    return int(broken > 0)


def remove(root: Path, args: argparse.Namespace) -> None:
    """Remove what the arguments choose."""
    oldest = time.time() - (args.older_than or 0) * 24 * 3600

    def wanted(entry: Entry) -> bool:
        old = args.older_than is not None and entry.used < oldest
        return args.all or old or (args.broken and bool(fault_of(entry)))

    verb = "would remove" if args.dry_run else "removed"
    for entry, gone in prune(root, wanted, args.max_gib, args.dry_run):
        about = f"{entry.folder.name} ({entry.nbytes / 2**20:.1f} MiB)"
        print(f"{verb} {about}" if gone else f"kept {about}: it is in use, or cannot be removed")
    if not args.dry_run:
        print(_total(root, entries(root)))


def _total(root: Path, found: Sequence[Entry]) -> str:
    gib = sum(entry.nbytes for entry in found) / 2**30
    return f"{len(found)} bank{'s' * (len(found) != 1)}, {gib:.2f} GiB in {root}"


def main(argv: Sequence[str] | None = None) -> None:
    """List, verify or prune, as the command line says."""
    args = parse_args(argv)
    if args.command == "list":
        list_banks(args.cache_dir)
    elif args.command == "verify":
        sys.exit(verify(args.cache_dir))
    else:
        remove(args.cache_dir, args)


if __name__ == "__main__":
    run_cli(main)
