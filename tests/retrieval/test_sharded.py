"""A bank that is sharded over several ranks gives the same contexts as the whole bank."""

from __future__ import annotations

import pytest
import torch

from mmickd.banks import MemoryBank
from mmickd.banks.ranks import shard_bank
from mmickd.retrieval import BaseRetriever, FaissRetriever, RandomRetriever, TorchRetriever
from mmickd.retrieval.sharded import ShardedRetriever, fetch_rows
from mmickd.structures import Samples
from mmickd.utils import distributed
from tests.helpers.ranks import on_ranks
from tests.helpers.retrieval_cases import check_context, samples

SEEDS = range(40)


def make_case(seed: int) -> tuple[MemoryBank, Samples, int | None, int, bool]:
    """Return a bank of up to 60 rows, queries, and the other arguments of a search."""
    g = torch.Generator().manual_seed(seed)
    size, queries, positives, negatives = (
        int(torch.randint(0, 61, (), generator=g)) for _ in range(4)
    )
    classes = 1 + seed % 5
    dtype = torch.float16 if seed % 3 == 0 else torch.float32
    bank = MemoryBank(samples(g, size % 61, 6, classes, 8, dtype=dtype), classes)
    query = samples(g, queries % 17, 6, classes, 8, least_label=-1)
    return bank, query, None if seed % 4 == 0 else positives % 12, negatives % 12, seed % 2 == 0


def shares(count: int, world_size: int, seed: int) -> list[int]:
    """Return the number of queries of each rank: uneven, sometimes 0."""
    if seed % 5 == 0:
        return [count, *[0] * (world_size - 1)]
    cuts = sorted(int(x) for x in torch.randint(0, count + 1, (world_size - 1,)))
    return [b - a for a, b in zip([0, *cuts], [*cuts, count], strict=True)]


def compare(kind: type[BaseRetriever]) -> int:
    """Compare the contexts of every case on this rank; return the number of rows."""
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    compared = 0
    for seed in SEEDS:
        bank, query, num_positives, num_negatives, exclude = make_case(seed)
        torch.manual_seed(seed)
        split = shares(len(query), world_size, seed)
        part = query[slice(sum(split[:rank]), sum(split[: rank + 1]))]
        shard = shard_bank(bank if rank == 0 else None)
        assert (
            shard.is_sharded
            and len(shard) == len(bank)
            and shard.max_class_size == bank.max_class_size
        )
        assert shard.part.features.dtype == bank.features.dtype
        assert len(shard.part) == len(range(rank, len(bank), world_size))
        arguments = part, num_positives, num_negatives, exclude
        results = ShardedRetriever(kind()).search(shard, *arguments)
        expected = TorchRetriever().search(bank, *arguments)
        for a, b in zip(results, expected, strict=True):
            check_context(a, bank, len(part), b.mask.shape[1])
            for name in ("mask", "indices", "logits"):
                assert torch.equal(getattr(a, name), getattr(b, name)), seed
            assert torch.allclose(a.similarity, b.similarity, atol=1e-6), seed
            compared += int(a.mask.sum())
    return compared


@pytest.mark.parametrize("world_size", [2, 3])
def test_contexts_are_those_of_the_whole_bank(world_size: int) -> None:
    assert all(count > 300 for count in on_ranks(world_size, compare, TorchRetriever))


def test_contexts_of_faiss_are_the_same() -> None:
    pytest.importorskip("faiss")
    assert all(count > 300 for count in on_ranks(2, compare, FaissRetriever))


def draw_from_shards() -> tuple[torch.Tensor, torch.Tensor]:
    """Count how often each of 60 rows is drawn together with row 0, and how often at all."""
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 60, 6, 1, 1000), 1)
    query = samples(g, 1, 6, 1, 1000)
    shard = shard_bank(bank if torch.distributed.get_rank() == 0 else None)
    assert shard.is_sharded
    retriever = ShardedRetriever(RandomRetriever())
    chosen = torch.zeros(400, 60)
    for draw in chosen:
        context = retriever.search(shard, query, 12, 0)[0].best(6)
        true = query.features @ bank.features[context.indices[0]].T
        assert torch.allclose(context.similarity, true, atol=1e-6)
        assert bool((context.similarity.diff() <= 0).all())
        draw[context.indices[0]] = 1
    return chosen[chosen[:, 0] > 0].sum(0), chosen.sum(0)


def test_random_rows_of_a_sharded_bank_are_a_uniform_draw() -> None:
    for together, counts in on_ranks(2, draw_from_shards):
        share = counts / 400
        # five standard deviations of a binomial share
        assert bool(((share - 0.1).abs() < 5 * (0.1 * 0.9 / 400) ** 0.5).all())
        # row 1 has the same place in the other shard: it is drawn independently of row 0
        assert together[1] < together[0] / 2


def fetch() -> None:
    rank = torch.distributed.get_rank()
    bank = make_case(1)[0]
    for chunk_bytes in (1, 100, 2**26):
        distributed.CHUNK_BYTES = chunk_bytes
        shard = shard_bank(bank if rank == 0 else None)
        assert shard.is_sharded
        for rows in (torch.randperm(len(bank))[: 5 + rank], torch.zeros(0, dtype=torch.long)):
            for name in ("logits", "ids"):
                fetched = fetch_rows(shard, getattr(shard.part, name), rows)
                assert torch.equal(fetched, getattr(bank, name)[rows])


def test_rows_are_sent_in_chunks_of_any_size() -> None:
    on_ranks(2, fetch)
