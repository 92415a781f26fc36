"""Rows that go from rank to rank: rank 0's bank to all, and the queries of all to all."""

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
from mmickd.utils.distributed import broadcast_from_main, chunks_from_main

FrozenBank = MemoryBank | BankShard
"""A frozen bank on a rank."""


def replicate_bank(bank: MemoryBank | None, device: torch.device | str = "cpu") -> MemoryBank:
    """The whole of rank 0's bank, on every rank.

    Args:
        bank: on rank 0, on the CPU.
        device: where it shall lie; the ranks receive it there piece by piece.
    """
    if dist.get_world_size() == 1:
        assert bank is not None
        return bank.to(device)
    about = _about(bank)
    if bank is None:
        rows = {name: _received(None, name, about, 0, 1, device) for name in Samples.names()}
        return MemoryBank.from_sorted(Samples(**rows), about.num_classes)
    for name in Samples.names():
        for _ in chunks_from_main(getattr(bank, name), *about.forms[name]):
            pass  # sent to the others; this rank has them
    return bank.to(device)


def shard_bank(bank: MemoryBank | None, device: torch.device | str = "cpu") -> FrozenBank:
    """This rank's part of rank 0's bank; the bank itself where there is one rank only.

    The rows pass through in pieces, so that no rank but the first ever holds more than its own.

    Args:
        bank: on rank 0, on the CPU.
        device: where it shall lie.
    """
    rank, world_size = dist.get_dist_info()
    if world_size == 1:
        assert bank is not None
        return bank.to(device)
    about = _about(bank)
    rows = {
        name: _received(bank, name, about, rank, world_size, device) for name in Samples.names()
    }
    part = MemoryBank.from_sorted(Samples(**rows), about.num_classes)
    return BankShard(part, rank, world_size, about.num_rows, about.max_class_size)


@dataclass(frozen=True)
class _About:
    """What every rank is told of rank 0's bank before its rows.

    Args:
        num_classes: ``C``.
        num_rows: ``M``.
        max_class_size: rows of the largest class.
        forms: by tensor, its shape and dtype.
    """

    num_classes: int
    num_rows: int
    max_class_size: int
    forms: dict[str, tuple[tuple[int, ...], torch.dtype]]


def _about(bank: MemoryBank | None) -> _About:
    about = None
    if bank is not None:
        tensors = {name: getattr(bank, name) for name in Samples.names()}
        forms = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
        about = _About(bank.num_classes, len(bank), bank.max_class_size, forms)
    known: _About = broadcast_from_main(about)
    return known


def _received(
    bank: MemoryBank | None,
    name: str,
    about: _About,
    first: int,
    step: int,
    device: torch.device | str,
) -> Tensor:
    """Rows ``first``, ``first + step``, ... of a tensor of rank 0's bank."""
    shape, dtype = about.forms[name]
    count = len(range(first, shape[0], step))
    rows = torch.empty((count, *shape[1:]), dtype=dtype, device=device)
    whole = None if bank is None else getattr(bank, name)
    filled = 0
    for start, chunk in chunks_from_main(whole, shape, dtype):
        own = chunk[(first - start) % step :: step]
        rows[filled : filled + len(own)] = own
        filled += len(own)
    return rows


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
