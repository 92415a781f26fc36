"""The console command ``mmickd``, also ``python -m mmickd``: what ``tools/`` has, by name."""

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
    "check": ("mmickd.commands.check:main", "look at a config before it trains"),
    "bank": (
        "mmickd.commands.bank:main",
        "build a config's bank; list, verify, prune, export banks",
    ),
    "export-peer": ("mmickd.commands.export_peer:main", "write a peer as a plain checkpoint"),
    "publish": ("mmickd.commands.publish:main", "write the student as a plain checkpoint"),
    "gallery": ("mmickd.commands.gallery:main", "what is retrieved for images, and wrong labels"),
    "compare": ("mmickd.commands.compare:main", "several students over paired seeds, one table"),
    "tune": ("mmickd.commands.tune:main", "a search for weights and options, KD alone as hard"),
    "env": ("mmickd.utils.collect_env:main", "the version table of the stack, for bug reports"),
}
"""Name, the function that reads the rest of the command line, and a line on what it does."""


def main() -> None:
    """Run the command that the first word names, with the words behind it."""
    parser = argparse.ArgumentParser(
        prog="mmickd",
        description="In-context knowledge distillation for mmsegmentation and mmpretrain.",
        epilog="\n".join(["commands:", *(f"  {n:<13}{line}" for n, (_, line) in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mmickd {__version__}")
    parser.add_argument(
        "command", choices=COMMANDS, metavar="COMMAND", help="see below; each has its own --help"
    )
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv = [f"mmickd {command}", *sys.argv[2:]]

    # Here, since it takes seconds: --help does without.
    from mmickd.commands.arguments import run_command

    run_command(resolve_name(COMMANDS[command][0]))


if __name__ == "__main__":
    main()
