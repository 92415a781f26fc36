"""Write one network of a run's checkpoint as a plain checkpoint, which the stock tools load."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmickd.hooks.ickd_hook import CHECKPOINT_KEY
from mmickd.storage.plain_checkpoint import write_plain_checkpoint
from mmickd.teachers.checkpoint import load_checkpoint, state_dict_of
from mmickd.utils.errors import ICKDError


def publish(argv: Sequence[str] | None = None) -> None:
    """Write the student of a run's checkpoint as a plain checkpoint, which the stock tools load.

    The checkpoint of a run whose teacher learns (SelfTeacher, OnlineTeacher) also holds the
    teacher, peers and queues, and every checkpoint may hold the optimizer and the log. OUT holds
    only the student's weights and the checkpoint's meta (classes, epoch, iteration, text of the
    config). With EMAHook the weights are the averaged weights, which the run validated.
    """
    parser = _parser(publish, "checkpoint of a run (iter_*.pth, epoch_*.pth, best_*.pth)")
    args = parser.parse_args(argv)
    checkpoint = _read(args)
    if "state_dict" not in checkpoint:
        raise ICKDError(
            f"{args.checkpoint} is no checkpoint of a run (it has no state_dict): name an "
            "iter_*.pth, epoch_*.pth or best_*.pth of its work dir."
        )
    meta = checkpoint.get("meta")
    write_plain_checkpoint(
        args.out, meta if isinstance(meta, dict) else {}, state_dict_of(checkpoint)
    )
    # EMAHook stores the averaged weights as state_dict, and the trained weights separately
    averaged = ", averaged by EMAHook" if "ema_state_dict" in checkpoint else ""
    before, size = (
        f"{file.stat().st_size / 2**20:.1f} MiB" for file in (args.checkpoint, args.out)
    )
    print(f"student{averaged} written to {args.out} ({size} of {before})")


def export_peer(argv: Sequence[str] | None = None) -> None:
    """Write a peer of an online run as a plain checkpoint, which the stock tools load."""
    parser = _parser(export_peer, "checkpoint of a run with OnlineTeacher")
    parser.add_argument("--peer", type=int, default=0, help="peer, counted from 0 (0)")
    args = parser.parse_args(argv)
    checkpoint = _read(args)
    peers = (checkpoint.get(CHECKPOINT_KEY) or {}).get("peers", [])
    if not 0 <= args.peer < len(peers):
        raise ICKDError(
            f"{args.checkpoint} holds {len(peers)} peers: there is no peer {args.peer}."
        )
    meta = checkpoint.get("meta") or {}
    meta = {name: meta.get(name) for name in ("dataset_meta", "epoch", "iter")}
    write_plain_checkpoint(args.out, meta, peers[args.peer]["state_dict"])
    print(f"peer {args.peer} written to {args.out}")


def _parser(command: Any, checkpoint: str) -> argparse.ArgumentParser:
    """Return a parser with the file to read, described by ``checkpoint``, and the file to write."""
    parser = argparse.ArgumentParser(description=command.__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=checkpoint)
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write; it must not exist")
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="also read a checkpoint that holds more than tensors and plain values; it can run "
        "code",
    )
    return parser


def _read(args: argparse.Namespace) -> dict[str, Any]:
    """Read the checkpoint of a run, on the CPU.

    Raises:
        ICKDError: If the checkpoint cannot be read, or the file to write exists already.
    """
    if not args.checkpoint.is_file():
        raise ICKDError(f"{args.checkpoint} does not exist.")
    if args.out.exists():
        raise ICKDError(f"{args.out} exists already: remove it, or name another file.")
    return load_checkpoint(
        str(args.checkpoint), args.trust_checkpoint, "CHECKPOINT", "--trust-checkpoint"
    )
