"""Build the memory banks of a config before training; list, verify, prune or export banks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmickd.commands.arguments import (
    add_cfg_options,
    add_config_arguments,
    add_launcher_argument,
    non_negative_float,
    run_command,
)
from mmickd.commands.bank_building import build
from mmickd.commands.bank_cache import list_banks, prune, verify
from mmickd.commands.bank_export import export
from mmickd.commands.terminal import add_json_argument
from mmickd.storage.files import default_cache_dir

EPILOG = """
`bank CONFIG` is short for `bank build CONFIG`, and `bank` for `bank list`. A config with the name
of a command needs the long form: `bank build list`.

exit codes: 0 done, 1 a bank or the names of its images are broken or missing, 2 error, 130 Ctrl-C
"""
FUNCTIONS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "build": build,
    "list": list_banks,
    "verify": verify,
    "prune": prune,
    "export": export,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, add_arguments, text in (
        ("build", _add_build, "build the missing banks of a config, without training"),
        ("list", _add_cache, "list the banks in the cache"),
        ("verify", _add_cache, "read all banks in the cache; exit code 1 if one is broken"),
        ("prune", _add_prune, "remove banks from the cache"),
        ("export", _add_export, "write the rows of a bank with the paths of their images"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        add_arguments(command)
        add_json_argument(command)
    args = parser.parse_args(_with_command(sys.argv[1:] if argv is None else argv))
    if args.command == "prune" and not (
        args.max_gib is not None or args.older_than is not None or args.broken or args.all
    ):
        parser.error("prune needs --max-gib, --older-than, --broken or --all")
    return args


def _with_command(words: Sequence[str]) -> list[str]:
    """Return the command line with the command in front, even if the user omitted it."""
    if words and words[0] in (*FUNCTIONS, "-h", "--help"):
        return [*words]
    is_config = bool(words) and not words[0].startswith("-")
    return ["build" if is_config else "list", *words]


def _add_build(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    add_launcher_argument(parser)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=default_cache_dir(),
        help="folder of the banks (default: $MMICKD_CACHE_DIR, else ~/.cache/mmickd)",
    )


def _add_prune(parser: argparse.ArgumentParser) -> None:
    _add_cache(parser)
    which = parser.add_argument_group("banks to remove (a bank that a process uses is kept)")
    which.add_argument(
        "--max-gib", type=non_negative_float, metavar="X",
        help="the least recently used banks, until X GiB are left",
    )  # fmt: skip
    which.add_argument(
        "--older-than", type=non_negative_float, metavar="DAYS",
        help="banks that were not used for DAYS days",
    )  # fmt: skip
    which.add_argument(
        "--broken", action="store_true", help="incomplete or altered banks (reads every bank)"
    )
    which.add_argument("--all", action="store_true", help="all banks")
    which.add_argument("--dry-run", action="store_true", help="only print what would be removed")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bank",
        metavar="BANK",
        help="a config (its bank is built if it is missing), the folder of a bank, or the name of "
        "a bank in the cache",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="file to write: .npz or .parquet"
    )
    parser.add_argument(
        "--level", help="level of the bank (image, pixel, ...), if the config has several"
    )
    add_cfg_options(parser)
    _add_cache(parser)


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command of the command line."""
    args = parse_args(argv)
    return FUNCTIONS[args.command](args)


if __name__ == "__main__":
    run_command(main)
