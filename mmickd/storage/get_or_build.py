"""Banks from the cache; missing banks are built and cached."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from mmengine import dist
from mmengine.logging import print_log

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.ranks import FrozenBank, replicate_bank, shard_bank
from mmickd.diagnostics.finding import Finding
from mmickd.storage.cache import BankCache
from mmickd.utils.distributed import broadcast_object, raise_on_all_ranks

Build = Callable[[list[str]], dict[str, MemoryBank | None]]


def get_or_build_banks(
    cache_keys: dict[str, dict[str, Any]],
    cache: BankCache | None,
    build: Build,
    shard: bool = False,
    width: int | None = None,
    device: torch.device | str = "cpu",
    inspect: Callable[[str, MemoryBank | None], None] | None = None,
    report: Callable[[Finding], None] = Finding.log,
) -> dict[str, FrozenBank]:
    """Return the bank of each level, from the cache if possible.

    Only rank 0 uses the cache, so that the ranks need no shared file system. If several runs need
    the same bank at the same time, one run builds it and the others wait for its lock.

    Args:
        cache_keys: Cache key of each level's bank.
        cache: Cache of finished banks; None keeps them in memory only.
        build: Function of levels that returns their banks on rank 0; all ranks call it together.
        shard: True gives each rank a part of the rows; False gives each rank all rows.
        width: Width of the teacher's features, which a cached bank must have; None: any.
        device: Device of the banks.
        inspect: Function that is called with each level and its whole bank (None on ranks above 0).
        report: Function that is called with a finding if a bank cannot be cached.

    Returns:
        By level, the same bank on every rank, or this rank's part of it.
    """
    banks: dict[str, MemoryBank | None] = {}
    with ExitStack() as locks:
        with raise_on_all_ranks():
            if cache is not None and dist.is_main_process():
                banks = _from_cache(cache, cache_keys, width, locks)
        missing = broadcast_object([level for level in cache_keys if banks.get(level) is None])
        if missing:
            built = build(missing)
            with raise_on_all_ranks():
                for level, bank in built.items():
                    if cache is not None and bank is not None:
                        finding = cache.try_save(bank, cache_keys[level])
                        if finding is not None:
                            report(finding)
            banks.update(built)
    distribute = shard_bank if shard else replicate_bank
    distributed: dict[str, FrozenBank] = {}
    for level in cache_keys:
        if inspect is not None:
            inspect(level, banks.get(level))
        distributed[level] = distribute(banks.pop(level, None), device)
        print_log(f"{level} level: {distributed[level]}", logger="current")
    return distributed


def _from_cache(
    cache: BankCache, cache_keys: dict[str, dict[str, Any]], width: int | None, locks: ExitStack
) -> dict[str, MemoryBank | None]:
    """Return the cached banks by level, None if missing; ``locks`` holds their locks."""
    # The order is always the same: otherwise two runs could wait for each other's lock for ever.
    for level in sorted(cache_keys, key=lambda name: cache.folder(cache_keys[name])):
        locks.enter_context(cache.lock(cache_keys[level]))
    banks: dict[str, MemoryBank | None] = {}
    for level in cache_keys:
        banks[level], line = cache.load(cache_keys[level], width)
        print_log(line if banks[level] is not None else f"Building: {line}", logger="current")
    return banks
