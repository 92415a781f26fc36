"""Build a config's memory bank before training; list, verify, prune and export banks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmickd.commands.arguments import (
    add_cfg_options,
    add_config_arguments,
    add_launcher_argument,
    run_command,
)
from mmickd.commands.banks.building import build
from mmickd.commands.banks.contents import list_banks, prune, verify
from mmickd.commands.banks.exporting import export
from mmickd.commands.terminal import add_json_argument
from mmickd.storage.files import default_cache_dir

EPILOG = """
`bank CONFIG` is short for `bank build CONFIG`, and `bank` for `bank list`. A first word that is a
command is never taken for a config (one that is called 'list': `bank build list`).

exit codes: 0 done, 1 a bank or a name is broken or missing, 2 it cannot be done, 130 Ctrl-C
"""
DO: dict[str, Callable[[argparse.Namespace], int | None]] = {
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
    for name, add, about in (
        ("build", _add_build, "build the banks of a config, or read them, without training"),
        ("list", _add_cache, "what lies in the cache"),
        ("verify", _add_cache, "read every bank in the cache; exit code 1 if one is broken"),
        ("prune", _add_prune, "remove banks from the cache"),
        ("export", _add_export, "write the rows of a bank with the paths of their images"),
    ):
        one = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        add(one)
        add_json_argument(one)
    args = parser.parse_args(_spelt_out(sys.argv[1:] if argv is None else argv))
    if args.command == "prune" and not (
        args.max_gib is not None or args.older_than is not None or args.broken or args.all
    ):
        parser.error("prune needs --max-gib, --older-than, --broken or --all")
    return args


def _spelt_out(words: Sequence[str]) -> list[str]:
    """The words with the command that was left out."""
    if words and words[0] in (*DO, "-h", "--help"):
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
        help="folder of the banks; default: $MMICKD_CACHE_DIR, else ~/.cache/mmickd",
    )


def _add_prune(parser: argparse.ArgumentParser) -> None:
    _add_cache(parser)
    which = parser.add_argument_group("which banks (those in use stay)")
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


def _amount(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bank",
        metavar="BANK",
        help="a config, whose bank is built if it is missing; or a bank's folder, or its name in "
        "the cache",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="file to write: .npz or .parquet"
    )
    parser.add_argument(
        "--level", help="which bank of a config that has several: image, pixel, ..."
    )
    add_cfg_options(parser)
    _add_cache(parser)


def main(argv: Sequence[str] | None = None) -> int | None:
    """Do what the command line says."""
    args = parse_args(argv)
    return DO[args.command](args)


if __name__ == "__main__":
    run_command(main)
