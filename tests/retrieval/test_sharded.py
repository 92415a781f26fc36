"""A bank dealt to several ranks answers as it does in one piece."""

from __future__ import annotations

import pytest
import torch

from mmickd.banks import MemoryBank
from mmickd.banks.ranks import deal
from mmickd.banks.shard import BankShard
from mmickd.retrieval import BaseRetriever, FaissRetriever, TorchRetriever
from mmickd.retrieval.sharded import ShardedRetriever, fetch_rows
from mmickd.structures import Samples
from mmickd.utils import distributed
from tests.helpers.ranks import on_ranks
from tests.helpers.retrieval_cases import check_form, samples

SEEDS = range(40)


def make_case(seed: int) -> tuple[MemoryBank, Samples, int | None, int, bool]:
    """From a single row to 60, empty classes among them; with and without numbers of positives."""
    g = torch.Generator().manual_seed(seed)
    size, queries, wanted, fewer = (int(torch.randint(0, 61, (), generator=g)) for _ in range(4))
    classes = 1 + seed % 5
    dtype = torch.float16 if seed % 3 == 0 else torch.float32
    bank = MemoryBank(samples(g, size % 61, 6, classes, 8, dtype=dtype), classes)
    query = samples(g, queries % 17, 6, classes, 8, least_label=-1)
    return bank, query, None if seed % 4 == 0 else wanted % 12, fewer % 12, seed % 2 == 0


def shares(count: int, world_size: int, seed: int) -> list[int]:
    """Queries of each rank, uneven, and at times none."""
    if seed % 5 == 0:
        return [count, *[0] * (world_size - 1)]
    cuts = sorted(int(x) for x in torch.randint(0, count + 1, (world_size - 1,)))
    return [b - a for a, b in zip([0, *cuts], [*cuts, count], strict=True)]


def compare(kind: type[BaseRetriever]) -> int:
    """Every case on this rank; the number of answers that were compared."""
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    compared = 0
    for seed in SEEDS:
        bank, query, num_positives, num_negatives, exclude = make_case(seed)
        torch.manual_seed(seed)
        split = shares(len(query), world_size, seed)
        own = query[slice(sum(split[:rank]), sum(split[: rank + 1]))]
        shard = deal(bank if rank == 0 else None)
        assert isinstance(shard, BankShard)
        assert len(shard) == len(bank) and shard.max_class_size == bank.max_class_size
        assert shard.part.features.dtype == bank.features.dtype
        assert len(shard.part) == len(range(rank, len(bank), world_size))
        got = ShardedRetriever(kind()).search(shard, own, num_positives, num_negatives, exclude)
        want = TorchRetriever().search(bank, own, num_positives, num_negatives, exclude)
        for mine, whole in zip(got, want, strict=True):
            check_form(mine, bank, len(own), whole.mask.shape[1])
            assert torch.equal(mine.mask, whole.mask), seed
            assert torch.equal(mine.indices, whole.indices), seed
            assert torch.equal(mine.logits, whole.logits), seed
            assert torch.allclose(mine.similarity, whole.similarity, atol=1e-6), seed
            compared += int(mine.mask.sum())
    return compared


@pytest.mark.parametrize("world_size", [2, 3])
def test_answers_are_those_of_the_whole_bank(world_size: int) -> None:
    assert all(count > 300 for count in on_ranks(world_size, compare, TorchRetriever))


def test_answers_of_faiss_are_the_same() -> None:
    pytest.importorskip("faiss")
    assert all(count > 300 for count in on_ranks(2, compare, FaissRetriever))


def fetch() -> None:
    for pieces in (1, 100, 2**26):
        distributed.CHUNK_BYTES = pieces
        fetch_in_pieces()


def fetch_in_pieces() -> None:
    rank = torch.distributed.get_rank()
    bank = make_case(1)[0]
    shard = deal(bank if rank == 0 else None)
    assert isinstance(shard, BankShard)
    for wanted in (torch.randperm(len(bank))[: 5 + rank], torch.zeros(0, dtype=torch.long)):
        for name in ("logits", "ids"):
            rows = fetch_rows(shard, getattr(shard.part, name), wanted)
            assert torch.equal(rows, getattr(bank, name)[wanted])


def test_rows_travel_in_pieces_of_any_size() -> None:
    on_ranks(2, fetch)
