"""TorchRetriever against loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from mmickd.banks import MemoryBank
from mmickd.retrieval import TorchRetriever, torch_retriever
from mmickd.structures import Samples
from tests.helpers import slow_retrieval as slow
from tests.helpers.retrieval_cases import Case, cases, check_same_structure, run, samples


def check_against_loop(context, want, bank, queries, width):
    check_same_structure(context, bank, queries, width)
    for i, pairs in enumerate(want):
        assert int(context.mask[i].sum()) == len(pairs)
        got = context.similarity[i, : len(pairs)]
        assert torch.allclose(got, torch.tensor([s for s, _ in pairs]), atol=1e-5)
        gaps = torch.tensor([s for s, _ in pairs]).diff().abs()
        if len(pairs) and bool((gaps > 1e-5).all()):
            # No two are near each other: the rows must agree but for the last, whose rival may
            # lie just outside.
            rows = [row for _, row in pairs]
            assert context.indices[i, : len(pairs) - 1].tolist() == rows[:-1]


@settings(max_examples=150, deadline=None)
@given(cases())
def test_equals_loop(case):
    positives, negatives = run(TorchRetriever(case.chunk_size), case)
    want = slow.search(
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
    check_against_loop(positives, want[0], case.bank, len(case.query), width)
    check_against_loop(negatives, want[1], case.bank, len(case.query), case.num_negatives)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_answers_belong_to_the_query(case):
    positives, negatives = run(TorchRetriever(), case)
    labels, ids = case.bank.labels, case.bank.ids
    for i, (label, own) in enumerate(
        zip(case.query.labels.tolist(), case.query.ids.tolist(), strict=True)
    ):
        same = positives.indices[i][positives.mask[i]]
        other = negatives.indices[i][negatives.mask[i]]
        assert bool((labels[same] == label).all())
        assert bool((labels[other] != label).all())
        if label < 0:
            assert len(same) == len(other) == 0
        if case.exclude_same_id and own >= 0:
            assert not bool((ids[same] == own).any()) and not bool((ids[other] == own).any())


@settings(max_examples=60, deadline=None)
@given(cases())
def test_chunk_size_does_not_matter(case):
    whole = run(TorchRetriever(10**6), case)
    parts = run(TorchRetriever(case.chunk_size or 1), case)
    for a, b in zip(whole, parts, strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.allclose(a.similarity, b.similarity, atol=1e-6)
        # A product of another shape may round otherwise: rows may swap within the rounding.
        differing = a.indices != b.indices
        assert torch.allclose(a.similarity[differing], b.similarity[differing], atol=1e-6)
        assert differing.float().mean().nan_to_num() < 0.2


def fixed_case(**changes):
    g = torch.Generator().manual_seed(5)
    bank = MemoryBank(samples(g, 30, 6, 3, 8), 3)
    query = samples(g, 5, 6, 3, 8)
    return Case(**{**dict(bank=bank, query=query, num_positives=4, num_negatives=6,
                          exclude_same_id=True, chunk_size=None), **changes})  # fmt: skip


def test_whole_class_as_positives():
    case = fixed_case(num_positives=None, exclude_same_id=False)
    positives, _ = run(TorchRetriever(), case)
    sizes = case.bank.offsets.diff()
    assert positives.mask.shape[1] == int(sizes.max())
    assert positives.mask.sum(dim=1).tolist() == sizes[case.query.labels].tolist()


def test_more_wanted_than_the_class_has():
    case = fixed_case(num_positives=1000, num_negatives=1000, exclude_same_id=False)
    positives, negatives = run(TorchRetriever(), case)
    assert positives.mask.shape == negatives.mask.shape == (5, 1000)
    assert (positives.mask.sum(1) + negatives.mask.sum(1)).tolist() == [30] * 5


def test_empty_bank_and_no_query():
    g = torch.Generator().manual_seed(0)
    nothing = MemoryBank(samples(g, 0, 6, 3, 8), 3)
    for bank, query in (
        (nothing, samples(g, 4, 6, 3, 8)),
        (fixed_case().bank, samples(g, 0, 6, 3, 8)),
        (nothing, samples(g, 0, 6, 3, 8)),
    ):
        for k in (None, 0, 3):
            contexts = run(TorchRetriever(), fixed_case(bank=bank, query=query, num_positives=k))
            width = bank.max_class_size if k is None else k
            check_same_structure(contexts[0], bank, len(query), width)
            check_same_structure(contexts[1], bank, len(query), 6)
            assert not contexts[0].mask.any() and not contexts[1].mask.any()


def test_a_bank_of_the_own_image_alone_answers_nothing():
    g = torch.Generator().manual_seed(0)
    bank = samples(g, 6, 4, 2, 1)
    bank = MemoryBank(Samples(bank.features, bank.logits, bank.labels, torch.full((6,), 7)), 2)
    query = samples(g, 2, 4, 2, 1)
    query = Samples(query.features, query.logits, query.labels, torch.tensor([7, 8]))
    positives, negatives = run(TorchRetriever(), fixed_case(bank=bank, query=query))
    assert not positives.mask[0].any() and not negatives.mask[0].any()
    assert positives.mask[1].any() or negatives.mask[1].any()


def test_ties_stand_in_the_order_of_the_bank():
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


def test_a_tie_at_the_cut_is_cut_the_same_way_every_time():
    bank = MemoryBank(
        Samples(
            torch.ones(50, 1), torch.zeros(50, 1), torch.zeros(50).long(), torch.full((50,), -1)
        ),
        1,
    )
    query = Samples(
        torch.ones(3, 1), torch.zeros(3, 1), torch.zeros(3).long(), torch.zeros(3).long()
    )
    case = fixed_case(bank=bank, query=query, num_positives=7)
    answers = [run(TorchRetriever(size), case)[0].indices for size in (None, 1, 2, None)]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert bool((answers[0] == answers[0][0]).all())
    assert bool((answers[0].diff(dim=1) > 0).all())


def test_half_precision_bank_is_searched_in_float32():
    case = fixed_case()
    half = MemoryBank(
        Samples(
            case.bank.features.half(), case.bank.logits.half(), case.bank.labels, case.bank.ids
        ),
        3,
    )
    wide = MemoryBank(Samples(half.features.float(), half.logits.float(), half.labels, half.ids), 3)
    with torch.autocast("cpu", torch.bfloat16):  # of the student: must not reach the search
        got = run(TorchRetriever(), fixed_case(bank=half))
    want = run(TorchRetriever(), fixed_case(bank=wide))
    for a, b in zip(got, want, strict=True):
        for name in ("similarity", "logits", "mask", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def test_nothing_carries_a_gradient_and_the_inputs_stay():
    case = fixed_case()
    query = Samples(
        case.query.features.clone().requires_grad_(), case.query.logits, case.query.labels,
        case.query.ids,
    )  # fmt: skip
    before = [getattr(case.bank.samples, n).clone() for n in Samples.names()]
    positives, negatives = run(TorchRetriever(), fixed_case(query=query))
    assert not any(t.requires_grad for c in (positives, negatives) for t in vars(c).values())
    for name, tensor in zip(Samples.names(), before, strict=True):
        assert torch.equal(getattr(case.bank.samples, name), tensor)


def test_bad_questions():
    case = fixed_case()
    for k, n in ((-1, 2), (2, -1)):
        with pytest.raises(ValueError, match="negative"):
            run(TorchRetriever(), fixed_case(num_positives=k, num_negatives=n))
    narrow = Samples(
        case.query.features[:, :3], case.query.logits, case.query.labels, case.query.ids
    )
    with pytest.raises(ValueError, match="3 wide"):
        run(TorchRetriever(), fixed_case(query=narrow))
    with pytest.raises(ValueError, match="chunk_size"):
        TorchRetriever(chunk_size=0)


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 200))
def test_a_bank_in_blocks_answers_as_in_one_piece(case, elements):
    """Blocks cut classes and images; from one row each to the whole bank."""
    whole = run(TorchRetriever(case.chunk_size), case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_retriever, "BLOCK_ELEMENTS", elements)
        blocks = run(TorchRetriever(case.chunk_size), case)
    for a, b in zip(whole, blocks, strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.allclose(a.similarity, b.similarity, atol=1e-6)
        differing = a.indices != b.indices  # within the rounding of a product of another shape
        assert torch.allclose(a.similarity[differing], b.similarity[differing], atol=1e-6)
        assert differing.float().mean().nan_to_num() < 0.2


def test_ties_of_several_blocks_stand_in_the_order_of_the_bank(monkeypatch):
    monkeypatch.setattr(torch_retriever, "BLOCK_ELEMENTS", 4)
    test_ties_stand_in_the_order_of_the_bank()


class Widened(TorchFunctionMode):
    """Counts the elements that are brought from fp16 to float32."""

    elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float and args[0].dtype == torch.float16:
            self.elements += args[0].numel()
        return func(*args, **(kwargs or {}))


def half_case(**changes):
    rows = fixed_case().bank.samples
    half = Samples(rows.features.half(), rows.logits, rows.labels, rows.ids)
    return fixed_case(**{"bank": MemoryBank(half, 3), "chunk_size": 1, **changes})


def test_a_block_is_widened_once_for_all_queries(monkeypatch):
    """With nothing kept, as on a GPU: the search of 5 queries one by one."""
    monkeypatch.setattr(torch_retriever, "BLOCK_ELEMENTS", 24)
    monkeypatch.setattr(torch_retriever, "KEPT_BYTES", 0)
    case, retriever = half_case(), TorchRetriever(1)
    for _ in range(2):
        with Widened() as widened:
            run(retriever, case)
        assert widened.elements == case.bank.features.numel()


def test_two_banks_on_a_cpu_are_widened_once(monkeypatch):
    """As with ['pixel', 'region'], which ask in turn."""
    retriever, banks = TorchRetriever(), [half_case(), half_case()]
    with Widened() as widened:
        for _ in range(3):
            for case in banks:
                run(retriever, case)
    assert widened.elements == sum(case.bank.features.numel() for case in banks)


def test_what_is_kept_is_bounded_and_goes_with_its_bank(monkeypatch):
    features = half_case().bank.features
    monkeypatch.setattr(torch_retriever, "BLOCK_ELEMENTS", 60)  # 3 blocks of 10 rows
    monkeypatch.setattr(torch_retriever, "KEPT_BYTES", 2 * 60 * 4)
    retriever, case = TorchRetriever(), half_case()
    run(retriever, case)
    with Widened() as widened:
        run(retriever, case)
    assert widened.elements == features.numel() / 3
    assert len(retriever._kept) == 1
    del case
    assert len(retriever._kept) == 0
