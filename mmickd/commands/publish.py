"""Write the student of a run's checkpoint as a plain one, to be handed on.

The checkpoint of a run whose teacher learns (SelfTeacher, OnlineTeacher) holds teacher, peers and
queues beside the student, and every checkpoint may hold optimizer and log. OUT holds the student's
weights and the checkpoint's meta (classes, epoch, iteration, the config's text), nothing else. Of a
run with EMAHook these are the averaged weights, by which the run was validated.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmickd.commands.arguments import run_command
from mmickd.commands.plain_checkpoint import add_plain_arguments, read_checkpoint, write_plain
from mmickd.teachers.checkpoint import state_dict_of
from mmickd.utils.errors import ICKDError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_plain_arguments(parser, "checkpoint of any run (iter_*.pth, epoch_*.pth, best_*.pth)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    checkpoint = read_checkpoint(args)
    if "state_dict" not in checkpoint:
        raise ICKDError(
            f"{args.checkpoint} is no checkpoint of a run (it has no state_dict): name an "
            "iter_*.pth, epoch_*.pth or best_*.pth of its work dir."
        )
    meta = checkpoint.get("meta")
    write_plain(args.out, meta if isinstance(meta, dict) else {}, state_dict_of(checkpoint))
    # EMAHook puts the average into state_dict, and what is trained further beside it
    averaged = ", averaged by EMAHook" if "ema_state_dict" in checkpoint else ""
    print(f"student{averaged} written to {args.out} ({size(args.out)} of {size(args.checkpoint)})")


def size(file: Path) -> str:
    """Size of a file, in words."""
    return f"{file.stat().st_size / 2**20:.1f} MiB"


if __name__ == "__main__":
    run_command(main)
