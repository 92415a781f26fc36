"""TorchRetriever, compared with loops."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from mmickd.banks import MemoryBank
from mmickd.retrieval import TorchRetriever, torch_retriever
from mmickd.structures import Samples
from tests.helpers import slow_retrieval as slow
from tests.helpers.retrieval_cases import Case, cases, check_context, run, samples


def check_against_loop(context, expected, bank, queries, width):
    check_context(context, bank, queries, width)
    for i, pairs in enumerate(expected):
        assert int(context.mask[i].sum()) == len(pairs)
        similarity = torch.tensor([value for value, _ in pairs])
        assert torch.allclose(context.similarity[i, : len(pairs)], similarity, atol=1e-5)
        if len(pairs) and bool((similarity.diff().abs() > 1e-5).all()):
            # No two are equal within the rounding: the rows are the same but for the last, which
            # may be equal to the next one.
            rows = [row for _, row in pairs]
            assert context.indices[i, : len(pairs) - 1].tolist() == rows[:-1]


@settings(max_examples=150, deadline=None)
@given(cases())
def test_equals_loop(case):
    positives, negatives = run(TorchRetriever(case.chunk_size), case)
    expected = slow.search(
        case.bank.samples,
        case.query,
        case.num_positives,
        case.num_negatives,
        case.bank.num_classes,
        case.exclude_same_id,
    )
    width = case.num_positives
    if width is None:
        width = int(case.bank.offsets.diff().max())
    check_against_loop(positives, expected[0], case.bank, len(case.query), width)
    check_against_loop(negatives, expected[1], case.bank, len(case.query), case.num_negatives)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_rows_have_the_right_class_and_another_image(case):
    positives, negatives = run(TorchRetriever(), case)
    labels, ids = case.bank.labels, case.bank.ids
    pairs = zip(case.query.labels.tolist(), case.query.ids.tolist(), strict=True)
    for i, (label, image) in enumerate(pairs):
        same = positives.indices[i][positives.mask[i]]
        other = negatives.indices[i][negatives.mask[i]]
        assert bool((labels[same] == label).all())
        assert bool((labels[other] != label).all())
        if label < 0:
            assert len(same) == len(other) == 0
        if case.exclude_same_id and image >= 0:
            assert not bool((ids[same] == image).any()) and not bool((ids[other] == image).any())


@settings(max_examples=60, deadline=None)
@given(cases())
def test_chunk_size_does_not_matter(case):
    whole = run(TorchRetriever(10**6), case)
    parts = run(TorchRetriever(case.chunk_size or 1), case)
    check_equal_within_rounding(whole, parts)


def check_equal_within_rounding(results, expected):
    """Products of another shape are rounded differently, so rows may swap."""
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.allclose(a.similarity, b.similarity, atol=1e-6)
        differing = a.indices != b.indices
        assert torch.allclose(a.similarity[differing], b.similarity[differing], atol=1e-6)
        assert differing.float().mean().nan_to_num() < 0.2


def fixed_case(**changes):
    g = torch.Generator().manual_seed(5)
    bank = MemoryBank(samples(g, 30, 6, 3, 8), 3)
    query = samples(g, 5, 6, 3, 8)
    return replace(Case(bank, query, 4, 6, exclude_same_id=True, chunk_size=None), **changes)


def test_whole_class_as_positives():
    case = fixed_case(num_positives=None, exclude_same_id=False)
    positives, _ = run(TorchRetriever(), case)
    sizes = case.bank.offsets.diff()
    assert positives.mask.shape[1] == int(sizes.max())
    assert positives.mask.sum(dim=1).tolist() == sizes[case.query.labels].tolist()


def test_more_rows_than_the_class_has():
    case = fixed_case(num_positives=1000, num_negatives=1000, exclude_same_id=False)
    positives, negatives = run(TorchRetriever(), case)
    assert positives.mask.shape == negatives.mask.shape == (5, 1000)
    assert (positives.mask.sum(1) + negatives.mask.sum(1)).tolist() == [30] * 5


def test_empty_bank_and_no_query():
    g = torch.Generator().manual_seed(0)
    empty = MemoryBank(samples(g, 0, 6, 3, 8), 3)
    for bank, query in (
        (empty, samples(g, 4, 6, 3, 8)),
        (fixed_case().bank, samples(g, 0, 6, 3, 8)),
        (empty, samples(g, 0, 6, 3, 8)),
    ):
        for k in (None, 0, 3):
            contexts = run(TorchRetriever(), fixed_case(bank=bank, query=query, num_positives=k))
            width = bank.max_class_size if k is None else k
            check_context(contexts[0], bank, len(query), width)
            check_context(contexts[1], bank, len(query), 6)
            assert not contexts[0].mask.any() and not contexts[1].mask.any()


def test_a_bank_of_the_own_image_alone_gives_no_rows():
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(replace(samples(g, 6, 4, 2, 1), ids=torch.full((6,), 7)), 2)
    query = replace(samples(g, 2, 4, 2, 1), ids=torch.tensor([7, 8]))
    positives, negatives = run(TorchRetriever(), fixed_case(bank=bank, query=query))
    assert not positives.mask[0].any() and not negatives.mask[0].any()
    assert positives.mask[1].any() or negatives.mask[1].any()


def test_rows_of_equal_similarity_keep_the_order_of_the_bank():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Rows 0..5 of class 0: three equal pairs; rows 6..8 of class 1: all equal.
    rows = Samples(
        torch.stack([features[i] for i in (0, 1, 0, 1, 0, 1, 0, 0, 0)]),
        torch.zeros(9, 2),
        torch.tensor([0] * 6 + [1] * 3),
        torch.full((9,), -1),
    )
    query = Samples(features[:1], torch.zeros(1, 2), torch.tensor([0]), torch.tensor([-1]))
    case = fixed_case(bank=MemoryBank(rows, 2), query=query, num_positives=6, num_negatives=3)
    for _ in range(3):
        positives, negatives = run(TorchRetriever(), case)
        assert positives.indices[0].tolist() == [0, 2, 4, 1, 3, 5]
        assert negatives.indices[0].tolist() == [6, 7, 8]


def test_the_choice_among_equal_rows_is_always_the_same():
    rows = Samples(torch.ones(50, 1), torch.zeros(50, 1), *torch.zeros(2, 50).long())
    bank = MemoryBank(replace(rows, ids=rows.ids - 1), 1)
    case = fixed_case(bank=bank, query=rows[:3], num_positives=7)
    first, *repeats = (run(TorchRetriever(size), case)[0].indices for size in (None, 1, 2, None))
    assert all(torch.equal(first, repeat) for repeat in repeats)
    assert bool((first == first[0]).all()) and bool((first.diff(dim=1) > 0).all())


def test_half_precision_bank_is_searched_in_float32():
    rows = fixed_case().bank.samples
    rows = replace(rows, features=rows.features.half(), logits=rows.logits.half())
    wide = replace(rows, features=rows.features.float(), logits=rows.logits.float())
    with torch.autocast("cpu", torch.bfloat16):  # the student's autocast has no effect
        results = run(TorchRetriever(), fixed_case(bank=MemoryBank(rows, 3)))
    expected = run(TorchRetriever(), fixed_case(bank=MemoryBank(wide, 3)))
    for a, b in zip(results, expected, strict=True):
        for name in ("similarity", "logits", "mask", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def test_contexts_have_no_gradient_and_the_bank_stays():
    case = fixed_case()
    query = replace(case.query, features=case.query.features.clone().requires_grad_())
    before = [getattr(case.bank.samples, n).clone() for n in Samples.names()]
    positives, negatives = run(TorchRetriever(), fixed_case(query=query))
    assert not any(t.requires_grad for c in (positives, negatives) for t in vars(c).values())
    for name, tensor in zip(Samples.names(), before, strict=True):
        assert torch.equal(getattr(case.bank.samples, name), tensor)


def test_invalid_queries_are_refused():
    case = fixed_case()
    for k, n in ((-1, 2), (2, -1)):
        with pytest.raises(ValueError, match="negative"):
            run(TorchRetriever(), fixed_case(num_positives=k, num_negatives=n))
    narrow = replace(case.query, features=case.query.features[:, :3])
    with pytest.raises(ValueError, match="3 wide"):
        run(TorchRetriever(), fixed_case(query=narrow))
    with pytest.raises(ValueError, match="chunk_size"):
        TorchRetriever(chunk_size=0)


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 200))
def test_the_size_of_blocks_does_not_matter(case, elements):
    """Classes and images are in several blocks; a block has one row, or more, or all."""
    whole = run(TorchRetriever(case.chunk_size), case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_retriever, "BLOCK_ELEMENTS", elements)
        blocks = run(TorchRetriever(case.chunk_size), case)
    check_equal_within_rounding(whole, blocks)


def test_rows_of_equal_similarity_in_several_blocks_keep_their_order(monkeypatch):
    monkeypatch.setattr(torch_retriever, "BLOCK_ELEMENTS", 4)
    test_rows_of_equal_similarity_keep_the_order_of_the_bank()


class CountConversions(TorchFunctionMode):
    """Count of the elements that are converted from fp16 to float32."""

    elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float and args[0].dtype == torch.float16:
            self.elements += args[0].numel()
        return func(*args, **(kwargs or {}))


def half_case():
    rows = fixed_case().bank.samples
    return fixed_case(
        bank=MemoryBank(replace(rows, features=rows.features.half()), 3), chunk_size=1
    )


def test_a_block_is_converted_once_for_all_queries(monkeypatch):
    """Nothing is kept, as on a GPU; 5 queries are searched one by one."""
    monkeypatch.setattr(torch_retriever, "BLOCK_ELEMENTS", 24)
    monkeypatch.setattr(torch_retriever, "KEPT_BYTES", 0)
    case, retriever = half_case(), TorchRetriever(1)
    for _ in range(2):
        with CountConversions() as converted:
            run(retriever, case)
        assert converted.elements == case.bank.features.numel()


def test_two_banks_on_a_cpu_are_converted_once():
    """Two levels are searched in turn."""
    retriever, banks = TorchRetriever(), [half_case(), half_case()]
    with CountConversions() as converted:
        for _ in range(3):
            for case in banks:
                run(retriever, case)
    assert converted.elements == sum(case.bank.features.numel() for case in banks)


def test_kept_features_are_limited_and_released_with_their_bank(monkeypatch):
    features = half_case().bank.features
    monkeypatch.setattr(torch_retriever, "BLOCK_ELEMENTS", 60)  # 3 blocks of 10 rows
    monkeypatch.setattr(torch_retriever, "KEPT_BYTES", 2 * 60 * 4)
    retriever, case = TorchRetriever(), half_case()
    run(retriever, case)
    with CountConversions() as converted:
        run(retriever, case)
    assert converted.elements == features.numel() / 3
    assert len(retriever._kept) == 1
    del case
    assert len(retriever._kept) == 0
