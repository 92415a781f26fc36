"""Communication of rows: from rank 0's bank to all ranks, and between all ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as torch_dist
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.shard import BankShard
from mmickd.structures import Samples
from mmickd.utils.distributed import broadcast_chunks, broadcast_object

FrozenBank = MemoryBank | BankShard
"""A frozen bank on one rank."""


def replicate_bank(bank: MemoryBank | None, device: torch.device | str = "cpu") -> MemoryBank:
    """Return a copy of rank 0's bank on every rank.

    Args:
        bank: Bank on rank 0, on the CPU; None on the other ranks.
        device: Device of the copies, which receive the rows in chunks.
    """
    if dist.get_world_size() == 1:
        assert bank is not None
        return bank.to(device)
    meta = _broadcast_meta(bank)
    if bank is None:
        rows = {name: _receive(None, name, meta, 0, 1, device) for name in Samples.names()}
        return MemoryBank.from_sorted(Samples(**rows), meta.num_classes)
    for name in Samples.names():
        for _ in broadcast_chunks(getattr(bank, name), *meta.forms[name]):
            pass  # the chunk is sent to the other ranks
    return bank.to(device)


def shard_bank(bank: MemoryBank | None, device: torch.device | str = "cpu") -> FrozenBank:
    """Return this rank's part of rank 0's bank; the bank itself if there is only one rank.

    The rows are sent in chunks, so that only rank 0 ever holds more rows than its part.

    Args:
        bank: Bank on rank 0, on the CPU; None on the other ranks.
        device: Device of the parts.
    """
    rank, world_size = dist.get_dist_info()
    if world_size == 1:
        assert bank is not None
        return bank.to(device)
    meta = _broadcast_meta(bank)
    rows = {name: _receive(bank, name, meta, rank, world_size, device) for name in Samples.names()}
    part = MemoryBank.from_sorted(Samples(**rows), meta.num_classes)
    return BankShard(part, rank, world_size, meta.num_rows, meta.max_class_size)


@dataclass(frozen=True)
class _BankMeta:
    """Sizes of rank 0's bank, and shape and dtype of its tensors; sent before the rows."""

    num_classes: int
    num_rows: int
    max_class_size: int
    forms: dict[str, tuple[tuple[int, ...], torch.dtype]]


def _broadcast_meta(bank: MemoryBank | None) -> _BankMeta:
    meta = None
    if bank is not None:
        tensors = {name: getattr(bank, name) for name in Samples.names()}
        forms = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
        meta = _BankMeta(bank.num_classes, len(bank), bank.max_class_size, forms)
    received: _BankMeta = broadcast_object(meta)
    return received


def _receive(
    bank: MemoryBank | None,
    name: str,
    meta: _BankMeta,
    first: int,
    step: int,
    device: torch.device | str,
) -> Tensor:
    """Receive rows ``first``, ``first + step``, ... of a tensor of rank 0's bank."""
    shape, dtype = meta.forms[name]
    count = len(range(first, shape[0], step))
    rows = torch.empty((count, *shape[1:]), dtype=dtype, device=device)
    whole = None if bank is None else getattr(bank, name)
    filled = 0
    for start, chunk in broadcast_chunks(whole, shape, dtype):
        part = chunk[(first - start) % step :: step]
        rows[filled : filled + len(part)] = part
        filled += len(part)
    return rows


def gather_samples(samples: Samples) -> tuple[Samples, list[int]]:
    """Return the rows of all ranks in the order of the ranks, and the number of rows of each.

    All ranks call this together; with several ranks it needs a host synchronisation.

    Args:
        samples: ``(Q, ...)``; ``Q`` may differ between ranks.
    """
    world_size = dist.get_world_size()
    if world_size == 1:
        return samples, [len(samples)]
    count = torch.tensor([len(samples)], device=samples.labels.device)
    counts = count.new_empty(world_size)
    torch_dist.all_gather_into_tensor(counts, count)
    sizes = counts.tolist()

    def gather(rows: Tensor) -> Tensor:
        padded = F.pad(rows, (0, 0, 0, max(sizes) - rows.shape[0])).contiguous()
        all_rows = padded.new_empty((world_size * max(sizes), rows.shape[1]))
        if not all_rows.numel():
            return rows.new_empty((sum(sizes), rows.shape[1]))
        torch_dist.all_gather_into_tensor(all_rows, padded)
        parts = all_rows.split(max(sizes))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    labels, ids = gather(torch.stack([samples.labels, samples.ids], dim=1)).T.contiguous()
    return Samples(gather(samples.features), gather(samples.logits), labels, ids), sizes
