"""A run of its own that holds the lock of a bank, or wants it: ``lock_user.py ROOT MODE``."""

import sys

import torch
from torch.utils.data import DataLoader

from mmickd.storage.cache import BankCache
from tests.helpers.stored_banks import FIELDS, make_bank


def say(what: object) -> None:
    print(what, flush=True)


def main(root: str, mode: str) -> None:
    cache = BankCache(root)
    with cache.lock(FIELDS):
        if mode == "build":
            say("held")
            sys.stdin.readline()
            cache.try_save(make_bank(seed=7), FIELDS)
        elif mode == "workers":
            loader = iter(DataLoader(torch.zeros(10**9, 0), num_workers=1))
            next(loader)
            say("held")
            sys.stdin.readline()
        else:
            bank, line = cache.load(FIELDS)
            say(line if bank is not None else f"Building: {line}")
    say("free")


if __name__ == "__main__":
    main(*sys.argv[1:])
