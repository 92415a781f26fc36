"""RandomRetriever: random rows of the right classes, with their true similarity."""

import pytest
import torch
from hypothesis import given, settings

from mmickd.banks import MemoryBank, QueueBank
from mmickd.losses.base import nearest_rows
from mmickd.retrieval import RandomRetriever, TorchRetriever
from mmickd.utils.errors import ICKDError
from tests.helpers.retrieval_cases import cases, check_context, run, samples


@settings(max_examples=100, deadline=None)
@given(cases())
def test_rows_of_the_right_classes_with_their_similarity(case):
    exact = run(TorchRetriever(), case)
    for drawn, nearest in zip(run(RandomRetriever(), case), exact, strict=True):
        check_context(drawn, case.bank, *nearest.mask.shape)
        assert torch.equal(drawn.mask, nearest.mask)  # as many rows
        rows = drawn.indices.clamp(min=0)
        if len(case.bank):
            true = (case.query.features[:, None] * case.bank.features[rows].float()).sum(-1)
            assert torch.allclose(drawn.similarity[drawn.mask], true[drawn.mask], atol=1e-5)
    positives, negatives = run(RandomRetriever(), case)
    pairs = zip(case.query.labels.tolist(), case.query.ids.tolist(), strict=True)
    for i, (label, image) in enumerate(pairs):
        same = positives.indices[i][positives.mask[i]]
        other = negatives.indices[i][negatives.mask[i]]
        assert len(set(same.tolist())) == len(same) and len(set(other.tolist())) == len(other)
        assert bool((case.bank.labels[same] == label).all())
        assert bool((case.bank.labels[other] != label).all())
        if case.exclude_same_id and image >= 0:
            assert not bool((case.bank.ids[same] == image).any())
            assert not bool((case.bank.ids[other] == image).any())


def test_negatives_are_a_uniform_draw():
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 60, 8, 3, 1000), 3)
    query = samples(g, 5, 8, 3, 1000)
    retriever, counts = RandomRetriever(seed=3), torch.zeros(60)
    draws = 400
    for _ in range(draws):
        _, negatives = retriever.search(bank, query[:1], 0, 10)
        counts[negatives.indices[0]] += 1
    is_other = bank.labels != query.labels[0]
    assert is_uniform(counts[is_other] / draws, 10 / int(is_other.sum()))
    assert not bool(counts[~is_other].any())


def draw_counts(num_rows, search):
    """Return bank, query, and the share of 400 searches in which each of 60 rows is drawn."""
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 60, 8, 3, 1000), 3)
    query, retriever = samples(g, 1, 8, 3, 1000), RandomRetriever(seed=3)
    counts, draws = torch.zeros(60), 400
    for _ in range(draws):
        context = search(retriever, bank, query)
        assert int(context.mask.sum()) == num_rows and bool((context.similarity.diff() <= 0).all())
        counts[context.indices[0]] += 1
    return bank, query, counts / draws


def is_uniform(share, expected, draws=400):
    # five standard deviations of a binomial share
    tolerance = 5 * (expected * (1 - expected) / draws) ** 0.5
    return bool(((share - expected).abs() < tolerance).all())


def test_rows_of_any_class_are_a_uniform_draw_from_the_whole_bank():
    _, _, share = draw_counts(8, lambda r, bank, q: nearest_rows(*r.search(bank, q, 8, 8), 8))
    assert is_uniform(share, 8 / 60)


def test_a_loss_that_needs_few_rows_gets_a_random_subset():
    def search(retriever, bank, query):
        return retriever.search(bank, query, 0, 24)[1].best(4)

    bank, query, share = draw_counts(4, search)
    is_other = bank.labels != query.labels[0]
    assert is_uniform(share[is_other], 4 / int(is_other.sum()))


def test_each_search_draws_anew_and_leaves_the_random_state_of_the_run():
    g = torch.Generator().manual_seed(0)
    bank, query = MemoryBank(samples(g, 60, 8, 3, 1000), 3), samples(g, 5, 8, 3, 1000)
    before = torch.get_rng_state()
    retriever, same_seed, other_seed = map(RandomRetriever, (1, 1, 2))
    first = retriever.search(bank, query, 4, 4)[1].indices
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, same_seed.search(bank, query, 4, 4)[1].indices)
    assert not torch.equal(first, other_seed.search(bank, query, 4, 4)[1].indices)
    assert not torch.equal(first, retriever.search(bank, query, 4, 4)[1].indices)


def test_a_negative_seed_is_refused():
    with pytest.raises(ICKDError, match="seed"):
        RandomRetriever(seed=-1)


def test_rows_of_a_queue_are_drawn_too():
    g = torch.Generator().manual_seed(0)
    queue = QueueBank(3, 8, 8)
    queue.push(samples(g, 15, 8, 3, 1000))
    query = samples(g, 5, 8, 3, 1000)
    retriever, filled = RandomRetriever(), queue.ids.new_zeros(len(queue), dtype=torch.bool)
    for _ in range(100):
        for context in retriever.search(queue, query, 2, 6):
            true = (query.features[:, None] * queue.features[context.indices.clamp(min=0)]).sum(-1)
            assert torch.allclose(context.similarity, true * context.mask, atol=1e-6)
            filled[context.indices[context.mask]] = True
    assert int(filled.sum()) == int(queue.counts.sum())
