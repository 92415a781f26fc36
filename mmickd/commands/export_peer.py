"""Write a peer of an online run as a plain checkpoint, which the stock tools load."""

import argparse
from collections.abc import Sequence

from mmickd.commands.arguments import run_command
from mmickd.commands.plain_checkpoint import add_plain_arguments, read_checkpoint, write_plain
from mmickd.hooks.ickd_hook import CHECKPOINT_KEY
from mmickd.utils.errors import ICKDError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_plain_arguments(parser, "checkpoint of a run with OnlineTeacher")
    parser.add_argument("--peer", type=int, default=0, help="which peer, from 0 on")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Export as the command line says."""
    args = parse_args(argv)
    checkpoint = read_checkpoint(args)
    peers = (checkpoint.get(CHECKPOINT_KEY) or {}).get("peers", [])
    if not 0 <= args.peer < len(peers):
        raise ICKDError(
            f"{args.checkpoint} holds {len(peers)} peers: there is no peer {args.peer}."
        )
    about = checkpoint.get("meta") or {}
    meta = {name: about.get(name) for name in ("dataset_meta", "epoch", "iter")}
    write_plain(args.out, meta, peers[args.peer]["state_dict"])
    print(f"peer {args.peer} written to {args.out}")


if __name__ == "__main__":
    run_command(main)
