"""Sub-sampling that does not depend on the order of the rows.

Every candidate row has a key, a hash of (seed, image, position); a class keeps its smallest keys.
So the choice is the same for any number of ranks, batch size or order of the data set.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def image_id(key: str) -> int:
    """Return the id of an image: 63 bits of a hash of its path, or of another name.

    Example:
        >>> image_id("train/0.png") == image_id("train/0.png") != image_id("train/1.png")
        True
    """
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def keyed_hash(seed: int, ids: Tensor, positions: Tensor) -> Tensor:
    """Return pseudo-random keys of (seed, image, position), by splitmix64 rounds.

    Args:
        seed: Any integer.
        ids: int64 image ids, broadcastable with ``positions``.
        positions: int64 positions in the image.

    Returns:
        int64 in ``[0, 2^63)``.

    Example:
        >>> keys = keyed_hash(0, torch.tensor([7, 7, 8]), torch.tensor([0, 1, 0]))
        >>> len(set(keys.tolist())), bool((keys >= 0).all())
        (3, True)
    """
    state = torch.full((), _signed(seed), dtype=torch.long, device=ids.device)
    for value in (ids, positions):
        state = _mix(state ^ value)
    return _shift_right(state, 1)


def smallest_per_class(labels: Tensor, keys: Tensor, num_classes: int, count: int | None) -> Tensor:
    """Return the rows with the ``count`` smallest keys of their class.

    Args:
        labels: ``(R,)`` int64 in ``[0, num_classes)``.
        keys: ``(R,)`` int64.
        num_classes: ``C``.
        count: Rows to keep of each class; None keeps all.

    Returns:
        ``(R',)`` int64 rows, by class and then by key.

    Example:
        >>> labels, keys = torch.tensor([1, 0, 1, 1]), torch.tensor([30, 5, 10, 20])
        >>> smallest_per_class(labels, keys, num_classes=2, count=2).tolist()
        [1, 2, 3]
    """
    order = torch.argsort(keys, stable=True)
    order = order[torch.argsort(labels[order], stable=True)]
    if count is None:
        return order
    sizes = torch.bincount(labels, minlength=num_classes)
    begin = (sizes.cumsum(0) - sizes)[labels[order]]
    rank = torch.arange(len(order), device=order.device) - begin
    return order[rank < count]


def _mix(x: Tensor) -> Tensor:
    """Return the result of one splitmix64 round (int64 arithmetic wraps around)."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift logically; ``>>`` of int64 is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """Return the int64 with the bits of an unsigned 64-bit number."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
