"""Rows that go from rank to rank: rank 0's bank to all, and the queries of all to all."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.shard import BankShard
from mmickd.structures import Samples
from mmickd.utils.distributed import broadcast_from_main, chunks_from_main

Bank = MemoryBank | BankShard
"""A frozen bank on a rank."""


def replicate(bank: MemoryBank | None) -> MemoryBank:
    """The whole of rank 0's bank, on every rank.

    Args:
        bank: on rank 0, on the CPU.
    """
    if dist.get_world_size() == 1:
        assert bank is not None
        return bank
    received = _receive(bank, first=0, step=1)[0]
    return bank if bank is not None else received


def deal(bank: MemoryBank | None) -> Bank:
    """This rank's part of rank 0's bank; the bank itself where there is one rank only.

    The rows pass through in pieces, so that no rank but the first ever holds more than its own.

    Args:
        bank: on rank 0, on the CPU.
    """
    rank, world_size = dist.get_dist_info()
    if world_size == 1:
        assert bank is not None
        return bank
    part, num_rows, max_class_size = _receive(bank, first=rank, step=world_size)
    return BankShard(part, rank, world_size, num_rows, max_class_size)


def _receive(bank: MemoryBank | None, first: int, step: int) -> tuple[MemoryBank, int, int]:
    """Rows ``first``, ``first + step``, ... of rank 0's bank, its length and largest class."""
    about = None
    if bank is not None:
        tensors = {name: getattr(bank.samples, name) for name in Samples.names()}
        shapes = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
        about = bank.num_classes, len(bank), bank.max_class_size, shapes
    num_classes, num_rows, max_class_size, shapes = broadcast_from_main(about)
    count = len(range(first, num_rows, step))
    received: dict[str, torch.Tensor] = {}
    for name, (shape, dtype) in shapes.items():
        rows = torch.empty((count, *shape[1:]), dtype=dtype)
        whole = getattr(bank.samples, name) if bank is not None else None
        filled = 0
        for start, chunk in chunks_from_main(whole, shape, dtype):
            own = chunk[(first - start) % step :: step]
            rows[filled : filled + len(own)] = own
            filled += len(own)
        received[name] = rows
    return MemoryBank(Samples(**received), num_classes), num_rows, max_class_size


def gather_samples(samples: Samples) -> tuple[Samples, list[int]]:
    """The rows of all ranks in the order of the ranks, and how many are of each.

    All ranks call this together; with several of them the host reads the numbers.

    Args:
        samples: ``(Q, ...)``; ``Q`` may differ between ranks.
    """
    world_size = dist.get_world_size()
    if world_size == 1:
        return samples, [len(samples)]
    own = torch.tensor([len(samples)], device=samples.labels.device)
    counts = torch.empty(world_size, dtype=own.dtype, device=own.device)
    torch_dist.all_gather_into_tensor(counts, own)
    sizes = counts.tolist()

    def gathered(rows: Tensor) -> Tensor:
        padded = F.pad(rows, (0, 0, 0, max(sizes) - rows.shape[0])).contiguous()
        every = padded.new_empty((world_size * max(sizes), rows.shape[1]))
        if not every.numel():
            return rows.new_empty((sum(sizes), rows.shape[1]))
        torch_dist.all_gather_into_tensor(every, padded)
        parts = every.split(max(sizes))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    labels, ids = gathered(torch.stack([samples.labels, samples.ids], dim=1)).T.contiguous()
    return Samples(gathered(samples.features), gathered(samples.logits), labels, ids), sizes
