"""Communication of rows between ranks."""

from __future__ import annotations

import torch

from mmickd.banks import MemoryBank
from mmickd.banks.ranks import gather_samples, replicate_bank, shard_bank
from mmickd.structures import Samples
from mmickd.utils import distributed
from tests.helpers.ranks import on_ranks
from tests.helpers.retrieval_cases import samples

QUERIES = [(3, 0, 2), (0, 0, 0), (0, 5, 1)]
"""Number of queries of each rank, by step."""


def rows(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Samples:
    g = torch.Generator().manual_seed(seed)
    return samples(g, count, 6, 4, 8, dtype=dtype)


def is_same(a: Samples, b: Samples) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in Samples.names()]
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def test_a_single_rank_gets_the_same_objects() -> None:
    queries, bank = rows(5), MemoryBank(rows(9), 4)
    assert replicate_bank(bank) is bank and shard_bank(bank) is bank
    gathered, sizes = gather_samples(queries)
    assert gathered is queries and sizes == [5]


def exchange() -> None:
    rank = torch.distributed.get_rank()
    for numbers in QUERIES:
        parts = [rows(number, seed) for seed, number in enumerate(numbers)]
        gathered, sizes = gather_samples(parts[rank])
        assert sizes == list(numbers) and is_same(gathered, Samples.cat(parts))
    for chunk_bytes in (1, 100, 2**26):
        distributed.CHUNK_BYTES = chunk_bytes
        for count, dtype in ((23, torch.float16), (2, torch.float32), (0, torch.float32)):
            bank = MemoryBank(rows(count, dtype=dtype), 4)
            sent = bank if rank == 0 else None
            copy, shard = replicate_bank(sent), shard_bank(sent)
            assert is_same(copy.samples, bank.samples)
            assert torch.equal(copy.offsets, bank.offsets)
            assert shard.is_sharded and len(shard) == count
            assert shard.max_class_size == bank.max_class_size and shard.num_classes == 4
            assert is_same(shard.part.samples, bank.samples[slice(rank, None, 3)])
            rows_of_rank = torch.arange(len(shard.part))
            assert is_same(bank.samples[shard.rows_in_bank(rows_of_rank)], shard.part.samples)


def test_three_ranks_get_all_rows_or_every_third_in_chunks_of_any_size() -> None:
    on_ranks(3, exchange)
