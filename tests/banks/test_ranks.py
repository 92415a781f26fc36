"""Rows that go from rank to rank."""

from __future__ import annotations

import torch

from mmickd.banks import MemoryBank
from mmickd.banks.ranks import gather_samples, replicate_bank, shard_bank
from mmickd.banks.shard import BankShard
from mmickd.structures import Samples
from mmickd.utils import distributed
from tests.helpers.ranks import on_ranks
from tests.helpers.retrieval_cases import samples

QUERIES = [(3, 0, 2), (0, 0, 0), (0, 5, 1)]
"""By step, how many each rank has."""


def rows(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Samples:
    g = torch.Generator().manual_seed(seed)
    return samples(g, count, 6, 4, 8, dtype=dtype)


def same(a: Samples, b: Samples) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in Samples.names()]
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def test_one_rank_keeps_what_it_has() -> None:
    queries, bank = rows(5), MemoryBank(rows(9), 4)
    assert replicate_bank(bank) is bank and shard_bank(bank) is bank
    gathered, sizes = gather_samples(queries)
    assert gathered is queries and sizes == [5]


def exchange() -> None:
    rank = torch.distributed.get_rank()
    for numbers in QUERIES:
        parts = [rows(number, seed) for seed, number in enumerate(numbers)]
        gathered, sizes = gather_samples(parts[rank])
        assert sizes == list(numbers) and same(gathered, Samples.cat(parts))
    for pieces in (1, 100, 2**26):
        distributed.CHUNK_BYTES = pieces
        for count, dtype in ((23, torch.float16), (2, torch.float32), (0, torch.float32)):
            bank = MemoryBank(rows(count, dtype=dtype), 4)
            given = bank if rank == 0 else None
            everywhere, shard = replicate_bank(given), shard_bank(given)
            assert same(everywhere.samples, bank.samples)
            assert torch.equal(everywhere.offsets, bank.offsets)
            assert isinstance(shard, BankShard) and len(shard) == count
            assert shard.max_class_size == bank.max_class_size and shard.num_classes == 4
            assert same(shard.part.samples, bank.samples[slice(rank, None, 3)])
            own = torch.arange(len(shard.part))
            assert same(bank.samples[shard.rows_in_bank(own)], shard.part.samples)


def test_three_ranks_get_all_rows_or_every_third_in_messages_of_any_size() -> None:
    on_ranks(3, exchange)
