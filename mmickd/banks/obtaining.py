"""A bank from the cache where it is right, else built and cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine import dist
from mmengine.logging import print_log

from mmickd.banks.cache import BankCache, try_save
from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import Samples
from mmickd.utils.distributed import broadcast_rows

Build = Callable[[list[str]], dict[str, MemoryBank]]


def obtain_banks(
    fields: dict[str, dict[str, Any]], cache: BankCache | None, build: Build
) -> dict[str, MemoryBank]:
    """The bank of each level; rank 0 alone touches the cache.

    Args:
        fields: by level, what the bank depends on.
        cache: where finished banks lie; None keeps them in memory only.
        build: builds the banks of the levels it is given, on all ranks together.

    Returns:
        By level, the same bank on every rank, on the CPU.
    """
    banks: dict[str, MemoryBank] = {}
    for level in fields:
        bank = _from_cache(cache, fields[level]) if cache is not None else None
        if bank is not None:
            banks[level] = bank
    missing = [level for level in fields if level not in banks]
    if missing:
        built = build(missing)
        if cache is not None and dist.is_main_process():
            for level, bank in built.items():
                try_save(cache, bank, fields[level])
        banks.update(built)
    for level, bank in banks.items():
        print_log(f"{level} level: {bank}", logger="current")
    return {level: banks[level] for level in fields}


def _from_cache(cache: BankCache, fields: dict[str, Any]) -> MemoryBank | None:
    """Rank 0's cached bank on every rank; None if it has none."""
    bank: MemoryBank | None = None
    about: list[Any] = [None]
    if dist.is_main_process():
        bank, line = cache.load(fields)
        print_log(line if bank is not None else f"Building: {line}", logger="current")
        if bank is not None:
            shapes = {
                name: (tuple(getattr(bank.samples, name).shape), getattr(bank.samples, name).dtype)
                for name in Samples.names()
            }
            about = [(bank.num_classes, shapes)]
    dist.broadcast_object_list(about)
    if about[0] is None:
        return None
    num_classes, shapes = about[0]
    tensors: dict[str, torch.Tensor] = {}
    for name, like in shapes.items():
        own = getattr(bank.samples, name) if bank is not None else None
        tensors[name] = broadcast_rows(own, like)
    return bank if bank is not None else MemoryBank(Samples(**tensors), num_classes)
