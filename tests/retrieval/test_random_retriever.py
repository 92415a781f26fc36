"""RandomRetriever: any rows of the right classes, with their true similarity."""

import pytest
import torch
from hypothesis import given, settings

from mmickd.banks import MemoryBank, QueueBank
from mmickd.losses.base import nearest_rows
from mmickd.retrieval import RandomRetriever, TorchRetriever
from mmickd.utils.errors import ICKDError
from tests.helpers.retrieval_cases import cases, check_same_structure, run, samples


@settings(max_examples=100, deadline=None)
@given(cases())
def test_rows_of_the_right_classes_with_their_similarity(case):
    exact = run(TorchRetriever(), case)
    for drawn, nearest in zip(run(RandomRetriever(), case), exact, strict=True):
        check_same_structure(drawn, case.bank, *nearest.mask.shape)
        assert torch.equal(drawn.mask, nearest.mask)  # as many are found
        rows = drawn.indices.clamp(min=0)
        if len(case.bank):
            true = (case.query.features[:, None] * case.bank.features[rows].float()).sum(-1)
            assert torch.allclose(drawn.similarity[drawn.mask], true[drawn.mask], atol=1e-5)
    positives, negatives = run(RandomRetriever(), case)
    for i, (label, own) in enumerate(
        zip(case.query.labels.tolist(), case.query.ids.tolist(), strict=True)
    ):
        same = positives.indices[i][positives.mask[i]]
        other = negatives.indices[i][negatives.mask[i]]
        assert len(set(same.tolist())) == len(same) and len(set(other.tolist())) == len(other)
        assert bool((case.bank.labels[same] == label).all())
        assert bool((case.bank.labels[other] != label).all())
        if case.exclude_same_id and own >= 0:
            assert not bool((case.bank.ids[same] == own).any())
            assert not bool((case.bank.ids[other] == own).any())


def test_every_row_has_the_same_chance():
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 60, 8, 3, 1000), 3)
    query = samples(g, 5, 8, 3, 1000)
    retriever, counts = RandomRetriever(seed=3), torch.zeros(60)
    draws = 400
    for _ in range(draws):
        _, negatives = retriever.search(bank, query[:1], 0, 10)
        counts[negatives.indices[0]] += 1
    others = bank.labels != query.labels[0]
    assert is_uniform(counts[others] / draws, 10 / int(others.sum()))
    assert not bool(counts[~others].any())


def draw_counts(num_rows, search):
    """Bank and query, and the share of 400 searches in which each of the 60 rows is drawn."""
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 60, 8, 3, 1000), 3)
    query, retriever = samples(g, 1, 8, 3, 1000), RandomRetriever(seed=3)
    counts, draws = torch.zeros(60), 400
    for _ in range(draws):
        context = search(retriever, bank, query)
        assert int(context.mask.sum()) == num_rows and bool((context.similarity.diff() <= 0).all())
        counts[context.indices[0]] += 1
    return bank, query, counts / draws


def is_uniform(share, want, draws=400):
    # five standard deviations of a binomial share
    return bool(((share - want).abs() < 5 * (want * (1 - want) / draws) ** 0.5).all())


def test_rows_of_any_class_are_a_uniform_draw_from_the_whole_bank():
    _, _, share = draw_counts(8, lambda r, bank, q: nearest_rows(*r.search(bank, q, 8, 8), 8))
    assert is_uniform(share, 8 / 60)


def test_a_term_that_needs_few_rows_gets_a_random_subset():
    def search(retriever, bank, query):
        return retriever.search(bank, query, 0, 24)[1].best(4)

    bank, query, share = draw_counts(4, search)
    others = bank.labels != query.labels[0]
    assert is_uniform(share[others], 4 / int(others.sum()))


def test_draws_anew_and_leaves_the_run_s_random_numbers_alone():
    g = torch.Generator().manual_seed(0)
    bank, query = MemoryBank(samples(g, 60, 8, 3, 1000), 3), samples(g, 5, 8, 3, 1000)
    before = torch.get_rng_state()
    one, again, other = RandomRetriever(1), RandomRetriever(1), RandomRetriever(2)
    first = one.search(bank, query, 4, 4)[1].indices
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again.search(bank, query, 4, 4)[1].indices)
    assert not torch.equal(first, other.search(bank, query, 4, 4)[1].indices)
    assert not torch.equal(first, one.search(bank, query, 4, 4)[1].indices)


def test_wrong_seed():
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
