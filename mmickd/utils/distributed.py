"""Messages between the ranks that mmengine.dist has no words for, most of them before training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine import dist
from torch import Tensor, nn

from mmickd.utils.errors import ICKDError

PATIENCE = timedelta(days=1)
"""How long a rank waits for the others while the bank is built, read or downloaded."""
CHUNK_BYTES = 2**26
"""Bytes that one message carries, so that a bank in transit does not take the memory of two."""

_group: Any = None


@contextmanager
def long_timeout_group() -> Iterator[None]:
    """Messages of this module go through a group of endless patience inside.

    What precedes training takes ranks very different times: one reads the cache while the others
    wait, one has the slow disk. The run's own group would time out (NCCL after 10 minutes), and
    would move a bank through a GPU's memory; this one is gloo. All ranks enter together.
    """
    global _group
    if not dist.is_distributed() or _group is not None:
        yield
        return
    _group = torch_dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        # Its threads must not see the end of the process.
        group, _group = _group, None
        torch_dist.destroy_process_group(group)


def current_group() -> Any:
    """The group of :func:`long_timeout_group`; outside of it the run's own."""
    return _group


def gather_number(number: int) -> list[int]:
    """The ``number`` of every rank, on every rank."""
    return [int(n) for n in dist.all_gather(torch.tensor([number]), current_group())]


class _OfAllRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.stack(dist.all_gather(x.contiguous()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient, op="sum")
        return gradient[dist.get_rank()]


def all_gather_with_grad(x: Tensor) -> Tensor:
    """``(W, ...)``: the tensor of every rank, of one shape, on every rank.

    All ranks call it together, and go backward through it together: the gradient of ``x`` is the
    sum of what all of them make of it.

    Example:
        >>> all_gather_with_grad(torch.tensor([1.0, 2.0]))  # one rank
        tensor([[1., 2.]])
    """
    return _OfAllRanks.apply(x) if dist.get_world_size() > 1 else x[None]


def gather_rows_on_main(
    pieces: Iterable[Tensor], counts: Sequence[int], shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor | None:
    """Rows of all ranks, in the order of the ranks, on rank 0.

    Args:
        pieces: this rank's rows on the CPU, in pieces of :func:`rows_per_chunk` rows, the last one
            perhaps shorter; each is read before the next one is asked for.
        counts: by rank, how many rows it has.
        shape: of a row.
        dtype: of the rows.

    Returns:
        ``(sum(counts), *shape)`` on rank 0, None on the others.
    """
    if not dist.is_main_process():
        for piece in pieces:
            if len(piece):
                torch_dist.send(piece, dst=0, group=current_group())
        return None
    rows = torch.empty((sum(counts), *shape), dtype=dtype)
    filled = 0
    for piece in pieces:
        rows[filled : filled + len(piece)] = piece
        filled += len(piece)
    for rank, theirs in enumerate(rows[filled:].split(counts[1:]), 1):
        for piece in theirs.split(rows_per_chunk(theirs.shape, dtype)):
            if len(piece):
                torch_dist.recv(piece, src=rank, group=current_group())
    return rows


def broadcast_object(value: Any) -> Any:
    """Rank 0's picklable ``value``, on every rank."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=current_group())
    return values[0]


def broadcast_chunks(
    rows: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype
) -> Iterator[tuple[int, Tensor]]:
    """Rank 0's ``rows`` piece by piece, on every rank.

    Args:
        rows: ``(R, ...)`` on the CPU, on rank 0.
        shape: of ``rows``, on every rank.
        dtype: of ``rows``, on every rank.

    Yields:
        First row and ``(r, ...)`` rows of each piece.
    """
    step = rows_per_chunk(shape, dtype)
    for start in range(0, shape[0], step):
        length = min(step, shape[0] - start)
        if rows is not None:
            chunk = rows[start : start + length].contiguous()
        else:
            chunk = torch.empty((length, *shape[1:]), dtype=dtype)
        if dist.get_world_size() > 1:
            dist.broadcast(chunk, src=0, group=current_group())
        yield start, chunk


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Take over rank 0's floating buffers (running statistics), in one message; in place.

    Args:
        model: on every rank the same but for its buffers.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if dist.get_world_size() == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten().float() for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, values in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


def rows_per_chunk(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """How many rows of a tensor one message carries, at least 1."""
    return max(1, CHUNK_BYTES // max(1, dtype.itemsize * torch.Size(shape[1:]).numel()))


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Raise on every rank what one rank raises, so that none waits for the others in vain.

    What is inside may communicate between the ranks only where none can have failed before.

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
    messages = dist.all_gather_object(message, group=current_group())
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message:
            raise ICKDError(f"[rank {rank}] {message}")
