"""Console command ``mmickd`` (also ``python -m mmickd``), with the commands of ``tools/``."""

from __future__ import annotations

import argparse
import sys
from pkgutil import resolve_name

from mmickd.version import __version__

COMMANDS = {
    "train": ("mmickd.commands.train:main", "train a classifier or a segmenter"),
    "test": ("mmickd.commands.test:main", "test a checkpoint"),
    "dist-train": ("mmickd.commands.dist:train", "train with several processes"),
    "dist-test": ("mmickd.commands.dist:test", "test with several processes"),
    "check": ("mmickd.commands.check:main", "check a config before training"),
    "bank": ("mmickd.commands.bank:main", "build, list, verify, prune or export memory banks"),
    "export-peer": ("mmickd.commands.publish:export_peer", "write a peer as a plain checkpoint"),
    "publish": ("mmickd.commands.publish:publish", "write the student as a plain checkpoint"),
    "gallery": ("mmickd.commands.gallery:main", "show retrieved rows of images, and label issues"),
    "compare": ("mmickd.commands.compare:main", "train students over paired seeds, in one table"),
    "tune": ("mmickd.commands.tune:main", "search for loss weights and options"),
    "env": ("mmickd.utils.collect_env:main", "print all package versions, for bug reports"),
}
"""Function and one-line help of each command; the function reads the rest of the command line."""


def main() -> None:
    """Run the command that the first argument names, with the other arguments."""
    parser = argparse.ArgumentParser(
        prog="mmickd",
        description="In-context knowledge distillation for mmsegmentation and mmpretrain.",
        epilog="\n".join(["commands:", *(f"  {n:<13}{line}" for n, (_, line) in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mmickd {__version__}")
    parser.add_argument(
        "command",
        choices=COMMANDS,
        metavar="COMMAND",
        help="see below; each has its own --help",
    )
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv = [f"mmickd {command}", *sys.argv[2:]]

    # a slow import, which --help does not need
    from mmickd.commands.arguments import run_command

    run_command(resolve_name(COMMANDS[command][0]))


if __name__ == "__main__":
    main()
