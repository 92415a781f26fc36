"""Plain checkpoints: the weights of one network, without the state of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmickd.utils.atomic import atomic_write
from mmickd.utils.errors import ICKDError

PLAIN_TYPES = (type(None), bool, int, float, str, Tensor)


def write_plain_checkpoint(
    out: Path, meta: Mapping[str, Any], state_dict: Mapping[str, Any]
) -> None:
    """Write a network's weights; the file is complete or does not exist.

    Args:
        out: File to write; its folder is created if it is missing.
        meta: Information about the network; values that are not plain are left out.
        state_dict: Weights of the network.

    Raises:
        ICKDError: If the file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out) as temporary:
            torch.save(dict(meta=plain(meta), state_dict=state_dict), temporary)
    except (OSError, RuntimeError) as error:  # torch raises a RuntimeError if the disk is full
        raise ICKDError(f"{out} cannot be written ({error}). Name another file.") from error


def plain(value: Any) -> Any:
    """Copy a nested value without the parts that ``torch.load(weights_only=True)`` rejects.

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
    return isinstance(value, (*PLAIN_TYPES, Mapping, list, tuple))
