"""A bank from the cache where it is right, else built and cached."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from mmengine import dist
from mmengine.logging import print_log

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.ranks import FrozenBank, replicate_bank, shard_bank
from mmickd.storage.cache import BankCache
from mmickd.utils.distributed import broadcast_from_main, failing_together

Build = Callable[[list[str]], dict[str, MemoryBank | None]]


def get_or_build_banks(
    fields: dict[str, dict[str, Any]],
    cache: BankCache | None,
    build: Build,
    shard: bool = False,
    width: int | None = None,
    device: torch.device | str = "cpu",
    inspect: Callable[[str, MemoryBank | None], None] | None = None,
) -> dict[str, FrozenBank]:
    """The bank of each level; rank 0 alone touches the cache.

    Hence it does not matter whether the ranks share a file system. Of several runs that want the
    same bank at the same time, one builds it and the others wait for the cache's lock.

    Args:
        fields: by level, what the bank depends on.
        cache: where finished banks lie; None keeps them in memory only.
        build: builds the banks of the levels it is given, on all ranks together, for rank 0.
        shard: deal each bank to the ranks, instead of a copy for every rank.
        width: of the teacher's features, which a cached bank must have; None: any.
        device: where the banks shall lie.
        inspect: looks at the whole bank of each level; None on other ranks than 0.

    Returns:
        By level, the same bank on every rank, or this rank's part of it.
    """
    banks: dict[str, MemoryBank | None] = {}
    with ExitStack() as locks:
        with failing_together():
            if cache is not None and dist.is_main_process():
                banks = _from_cache(cache, fields, width, locks)
        missing = broadcast_from_main([level for level in fields if banks.get(level) is None])
        if missing:
            built = build(missing)
            with failing_together():
                for level, bank in built.items():
                    if cache is not None and bank is not None:
                        cache.try_save(bank, fields[level])
            banks.update(built)
    distribute = shard_bank if shard else replicate_bank
    everywhere: dict[str, FrozenBank] = {}
    for level in fields:
        if inspect is not None:
            inspect(level, banks.get(level))
        everywhere[level] = distribute(banks.pop(level, None), device)
        print_log(f"{level} level: {everywhere[level]}", logger="current")
    return everywhere


def _from_cache(
    cache: BankCache, fields: dict[str, dict[str, Any]], width: int | None, locks: ExitStack
) -> dict[str, MemoryBank | None]:
    """The cached banks, whose locks are held from now on."""
    # Always in the same order: two runs that each held one and waited for the other's would wait
    # for ever.
    for level in sorted(fields, key=lambda name: cache.folder(fields[name])):
        locks.enter_context(cache.lock(fields[level]))
    banks: dict[str, MemoryBank | None] = {}
    for level in fields:
        banks[level], line = cache.load(fields[level], width)
        found = banks[level] is not None
        print_log(line if found else f"Building: {line}", logger="current")
    return banks
