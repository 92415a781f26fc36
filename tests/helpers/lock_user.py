"""A process that holds the lock of a bank, or waits for it: ``lock_user.py ROOT MODE``."""

import sys

import torch
from torch.utils.data import DataLoader

from mmickd.storage.cache import BankCache
from tests.helpers.stored_banks import CACHE_KEY, make_bank


def report(line: object) -> None:
    print(line, flush=True)


def main(root: str, mode: str) -> None:
    cache = BankCache(root)
    with cache.lock(CACHE_KEY):
        if mode == "build":
            report("held")
            sys.stdin.readline()
            cache.try_save(make_bank(seed=7), CACHE_KEY)
        elif mode == "workers":
            loader = iter(DataLoader(torch.zeros(10**9, 0), num_workers=1))
            next(loader)
            report("held")
            sys.stdin.readline()
        else:
            bank, line = cache.load(CACHE_KEY)
            report(line if bank is not None else f"Building: {line}")
    report("free")


if __name__ == "__main__":
    main(*sys.argv[1:])
