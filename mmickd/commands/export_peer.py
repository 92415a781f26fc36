"""Write a peer of an online run as a plain checkpoint, which the stock tools load."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from mmickd.commands.arguments import run_command
from mmickd.hooks.ickd_hook import CHECKPOINT_KEY
from mmickd.teachers.checkpoint import load_checkpoint
from mmickd.utils.errors import ICKDError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of a run with OnlineTeacher")
    parser.add_argument("out", type=Path, help="file to write; it must not exist")
    parser.add_argument("--peer", type=int, default=0, help="which peer, from 0 on")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Export as the command line says."""
    args = parse_args(argv)
    if not args.checkpoint.is_file():
        raise ICKDError(f"{args.checkpoint} does not exist.")
    if args.out.exists():
        raise ICKDError(f"{args.out} exists already: remove it, or name another file.")
    checkpoint = load_checkpoint(str(args.checkpoint))
    peers = (checkpoint.get(CHECKPOINT_KEY) or {}).get("peers", [])
    if not 0 <= args.peer < len(peers):
        raise ICKDError(
            f"{args.checkpoint} holds {len(peers)} peers: there is no peer {args.peer}."
        )
    meta = {name: checkpoint["meta"].get(name) for name in ("dataset_meta", "epoch", "iter")}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=meta, state_dict=peers[args.peer]["state_dict"]), args.out)
    print(f"peer {args.peer} written to {args.out}")


if __name__ == "__main__":
    run_command(main)
