"""Communication between ranks that mmengine.dist does not have."""

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
"""Timeout while a rank waits for the others to build, read or download a bank."""
CHUNK_BYTES = 2**26
"""Maximum number of bytes of a message, so that sending a bank does not double its memory."""

_group: Any = None


@contextmanager
def long_timeout_group() -> Iterator[None]:
    """Use a gloo group with a long timeout for the messages of this module in the block.

    Before training, ranks take very different times: a rank reads the cache while the others wait,
    or has a slow disk. The run's default group would time out (NCCL after 10 minutes) and would
    move a bank through GPU memory. All ranks must enter the block together.
    """
    global _group
    if not dist.is_distributed() or _group is not None:
        yield
        return
    _group = torch_dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        # The threads of an open group would abort the process at its end.
        group, _group = _group, None
        torch_dist.destroy_process_group(group)


def current_group() -> Any:
    """Return the group of :func:`long_timeout_group`; None, the default group, outside of it."""
    return _group


def gather_number(number: int) -> list[int]:
    """Return the ``number`` of every rank, on every rank."""
    return [int(n) for n in dist.all_gather(torch.tensor([number]), current_group())]


class _AllGatherWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.stack(dist.all_gather(x.contiguous()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient, op="sum")
        return gradient[dist.get_rank()]


def all_gather_with_grad(x: Tensor) -> Tensor:
    """Return the tensors of all ``W`` ranks, of equal shape, as ``(W, ...)`` on every rank.

    All ranks must call it together, forward and backward: the gradient of ``x`` is the sum of the
    gradients on all ranks.

    Example:
        >>> all_gather_with_grad(torch.tensor([1.0, 2.0]))  # one rank
        tensor([[1., 2.]])
    """
    return _AllGatherWithGrad.apply(x) if dist.get_world_size() > 1 else x[None]


def gather_rows_on_main(
    pieces: Iterable[Tensor], counts: Sequence[int], shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor | None:
    """Return the rows of all ranks on rank 0, in the order of the ranks.

    Args:
        pieces: This rank's rows on the CPU, in pieces of :func:`rows_per_chunk` rows (the last may
            be shorter); a piece is used before the next piece is generated.
        counts: Number of rows of each rank.
        shape: Shape of a row.
        dtype: Dtype of the rows.

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
    for rank, received in enumerate(rows[filled:].split(counts[1:]), 1):
        for piece in received.split(rows_per_chunk(received.shape, dtype)):
            if len(piece):
                torch_dist.recv(piece, src=rank, group=current_group())
    return rows


def broadcast_object(value: Any) -> Any:
    """Return rank 0's picklable ``value`` on every rank."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=current_group())
    return values[0]


def broadcast_chunks(
    rows: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype
) -> Iterator[tuple[int, Tensor]]:
    """Send rank 0's ``rows`` to every rank, chunk by chunk.

    Args:
        rows: ``(R, ...)`` on the CPU of rank 0; None on the other ranks.
        shape: Shape of ``rows``, on every rank.
        dtype: Dtype of ``rows``, on every rank.

    Yields:
        Index of the chunk's first row, and its rows ``(r, ...)``.
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
    """Copy rank 0's floating-point buffers (running statistics) to all ranks, in one message.

    Args:
        model: Model that differs between the ranks only in its buffers; changed in place.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if dist.get_world_size() == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten().float() for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, values in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


def rows_per_chunk(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the number of rows in one message, at least 1."""
    return max(1, CHUNK_BYTES // max(1, dtype.itemsize * torch.Size(shape[1:]).numel()))


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Raise an error on every rank if the block fails on a rank, so that no rank waits forever.

    The block may communicate between ranks only before the first statement that can fail.

    Raises:
        Exception: The error of this rank.
        ICKDError: With the message of the first other rank that failed.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as exception:  # any error, as the other ranks must not wait
        error = exception
    message = "" if error is None else f"{type(error).__name__}: {error}"
    messages = dist.all_gather_object(message, group=current_group())
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message:
            raise ICKDError(f"[rank {rank}] {message}")
