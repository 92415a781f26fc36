"""Plain checkpoints: one network, without the state of its training."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmickd.teachers.checkpoint import load_checkpoint
from mmickd.utils.atomic import atomic_write
from mmickd.utils.errors import ICKDError

PLAIN = (type(None), bool, int, float, str, Tensor)


def add_plain_arguments(parser: argparse.ArgumentParser, checkpoint: str) -> None:
    """Add the file to read and the file to write.

    Args:
        parser: the parser to extend.
        checkpoint: help for the file to read.
    """
    parser.add_argument("checkpoint", type=Path, help=checkpoint)
    parser.add_argument("out", type=Path, help="file to write; it must not exist")
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="read a checkpoint that holds more than tensors and plain values; it can run code",
    )


def read_checkpoint(args: argparse.Namespace) -> dict[str, Any]:
    """Read the checkpoint of a run, on the CPU.

    Args:
        args: of :func:`add_plain_arguments`.

    Raises:
        ICKDError: if it does not exist or cannot be read, or the file to write is there already.
    """
    if not args.checkpoint.is_file():
        raise ICKDError(f"{args.checkpoint} does not exist.")
    if args.out.exists():
        raise ICKDError(f"{args.out} exists already: remove it, or name another file.")
    return load_checkpoint(
        str(args.checkpoint), args.trust_checkpoint, "CHECKPOINT", "--trust-checkpoint"
    )


def write_plain(out: Path, meta: Mapping[str, Any], state_dict: Mapping[str, Any]) -> None:
    """Write a network, whole or not at all.

    Args:
        out: file to write; its folder is made.
        meta: about the network; what is no plain value is left out.
        state_dict: its weights.

    Raises:
        ICKDError: if the file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out) as temporary:
            torch.save(dict(meta=plain(meta), state_dict=state_dict), temporary)
    except (OSError, RuntimeError) as error:  # torch has its own error for a full disk
        raise ICKDError(f"{out} cannot be written ({error}). Name another file.") from error


def plain(value: Any) -> Any:
    """Copy a nested value without what ``torch.load`` refuses to read safely.

    Example:
        >>> plain({"epoch": 3, "classes": ("a", "b"), "hook": object(), "seeds": [1, object()]})
        {'epoch': 3, 'classes': ('a', 'b'), 'seeds': [1]}
    """
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items() if _is_plain(part)}
    if isinstance(value, (list, tuple)):
        parts = [plain(part) for part in value if _is_plain(part)]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _is_plain(value: Any) -> bool:
    return isinstance(value, (*PLAIN, Mapping, list, tuple))
