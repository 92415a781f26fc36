"""Distributed helpers for what mmengine.dist does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from mmickd.utils.errors import ICKDError


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks, in the order of the ranks, on every rank.

    Args:
        rows: ``(R, ...)`` on any device; ``R`` may differ between ranks and be 0, the rest and
            the dtype may not.

    Returns:
        ``(R_0 + R_1 + ..., ...)`` on the device of ``rows``.
    """
    if dist.get_world_size() == 1:
        return rows
    device = dist.get_comm_device()
    counts = dist.all_gather(torch.tensor([rows.shape[0]], device=device))
    sizes = [int(count) for count in counts]
    padding = (0, 0) * (rows.ndim - 1) + (0, max(sizes) - rows.shape[0])
    gathered = dist.all_gather(F.pad(rows.to(device), padding).contiguous())
    parts = [part[:size] for part, size in zip(gathered, sizes, strict=True)]
    return torch.cat(parts).to(rows.device)


def broadcast_rows(rows: Tensor | None, like: tuple[tuple[int, ...], torch.dtype]) -> Tensor:
    """Rank 0's ``rows`` on every rank (on the CPU).

    Args:
        rows: the tensor, on rank 0.
        like: its shape and dtype, on every rank.
    """
    shape, dtype = like
    if dist.get_world_size() == 1:
        assert rows is not None
        return rows
    device = dist.get_comm_device()
    tensor = torch.empty(shape, dtype=dtype, device=device)
    if rows is not None:
        tensor.copy_(rows)
    dist.broadcast(tensor, src=0)
    return tensor.cpu()


@contextmanager
def failing_together() -> Iterator[None]:
    """Raise on every rank what one rank raises, so that none waits for the others in vain.

    Nothing inside may communicate between the ranks.

    Raises:
        Exception: that of this rank.
        ICKDError: with the message of the first other rank that failed.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # whatever it is, the other ranks must not wait for this one
        error = caught
    message = "" if error is None else f"{type(error).__name__}: {error}"
    messages = dist.all_gather_object(message)
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message:
            raise ICKDError(f"[rank {rank}] {message}")
