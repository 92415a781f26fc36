"""Queues of each class, compared with Python's deques."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank, QueueBank
from mmickd.retrieval import TorchRetriever
from mmickd.structures import Samples

CLASSES, WIDTH = 3, 4
steps = st.lists(
    st.lists(st.tuples(st.integers(-1, CLASSES - 1), st.integers(-1, 5)), max_size=9), max_size=6
)


def batch(rows: list[tuple[int, int]], number: int) -> Samples:
    """Rows of (label, image) with random features, which differ between batches."""
    g = torch.Generator().manual_seed(number)
    return Samples(
        F.normalize(torch.randn(len(rows), WIDTH, generator=g), dim=1),
        torch.randn(len(rows), CLASSES, generator=g),
        torch.tensor([label for label, _ in rows], dtype=torch.long),
        torch.tensor([image for _, image in rows], dtype=torch.long),
    )


def filled(bank: QueueBank) -> list[list[tuple[float, ...]]]:
    """Feature, logits and id of the rows in the queue, by class, oldest first."""
    classes = []
    for c, (count, head) in enumerate(zip(bank.counts.tolist(), bank.heads.tolist(), strict=True)):
        size = bank.max_class_size
        slots = [c * size + (head - count + i) % size for i in range(count)]
        classes.append([_row(bank, slot) for slot in slots])
    return classes


def _row(rows: Samples | QueueBank, i: int) -> tuple[float, ...]:
    return (*rows.features[i].tolist(), *rows.logits[i].tolist(), int(rows.ids[i]))


@settings(max_examples=200, deadline=None)
@given(steps, st.integers(1, 5))
def test_the_latest_rows_of_each_class_stay(pushed: list, capacity: int) -> None:
    bank = QueueBank(CLASSES, capacity, WIDTH)
    expected: list[deque] = [deque(maxlen=capacity) for _ in range(CLASSES)]
    for number, rows in enumerate(pushed):
        samples = batch(rows, number)
        bank.push(samples)
        for i, (label, _) in enumerate(rows):
            if label >= 0:
                expected[label].append(_row(samples, i))
        assert filled(bank) == [list(queue) for queue in expected]
        assert bool((bank.counts <= capacity).all())


@settings(max_examples=100, deadline=None)
@given(steps, st.integers(1, 5), st.integers(0, 6), st.integers(0, 9), st.booleans())
def test_retrieval_is_that_of_a_memory_bank_of_the_same_rows(
    pushed: list, capacity: int, num_positives: int, num_negatives: int, exclude: bool
) -> None:
    bank = QueueBank(CLASSES, capacity, WIDTH)
    for number, pairs in enumerate(pushed):
        bank.push(batch(pairs, number))
    slots = [c * capacity + i for c in range(CLASSES) for i in range(int(bank.counts[c]))]
    rows = Samples(*(getattr(bank, name)[slots] for name in Samples.names()))
    frozen = MemoryBank(rows, CLASSES)
    query = batch([(label, image) for label in range(-1, CLASSES) for image in (-1, 0, 3)], 99)
    retriever = TorchRetriever()
    results, expected = (
        retriever.search(searched, query, num_positives, num_negatives, exclude)
        for searched in (bank, frozen)
    )
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a.mask, b.mask) and torch.equal(a.logits, b.logits)
        assert torch.allclose(a.similarity, b.similarity, atol=1e-6)
        assert torch.equal(a.indices, torch.tensor([*slots, -1])[b.indices])


def test_a_later_search_sees_later_rows() -> None:
    """The retriever keeps features of frozen banks; a queue changes."""
    bank, retriever = QueueBank(CLASSES, 2, WIDTH), TorchRetriever()
    query = batch([(0, 7)], 1)
    for number in range(5):
        bank.push(batch([(0, 1)], number))
        best, _ = retriever.search(bank, query, 1, 0)
        expected = (query.features @ bank.features[: int(bank.counts[0])].T).max()
        assert float(best.similarity[0, 0]) == pytest.approx(float(expected), abs=1e-6)


def test_the_context_of_an_empty_queue_is_masked() -> None:
    bank = QueueBank(CLASSES, 2, WIDTH)
    for context in TorchRetriever().search(bank, batch([(0, 1), (2, -1)], 0), None, 3):
        assert not bool(context.mask.any())


@settings(max_examples=50, deadline=None)
@given(steps, steps)
def test_a_restored_queue_continues_exactly(before: list, after: list) -> None:
    bank = QueueBank(CLASSES, 3, WIDTH)
    for number, rows in enumerate(before):
        bank.push(batch(rows, number))
    saved = {name: tensor.clone() for name, tensor in bank.state_dict().items()}
    restored = QueueBank(CLASSES, 3, WIDTH)
    restored.load_state_dict(saved)
    for number, rows in enumerate(after):
        for queue in (bank, restored):
            queue.push(batch(rows, 50 + number))
    for name, tensor in bank.state_dict().items():
        assert torch.equal(restored.state_dict()[name], tensor), name


@pytest.mark.parametrize("other", [(4, 3, WIDTH), (CLASSES, 2, WIDTH), (CLASSES, 3, 5)])
def test_a_state_of_another_queue_is_refused(other: tuple[int, int, int]) -> None:
    bank = QueueBank(CLASSES, 3, WIDTH)
    bank.push(batch([(0, 1), (1, 2)], 0))
    before = {name: tensor.clone() for name, tensor in bank.state_dict().items()}
    with pytest.raises(ValueError, match=r"features are \(.*instead of"):
        bank.load_state_dict(QueueBank(*other).state_dict())
    with pytest.raises(ValueError, match="missing"):
        bank.load_state_dict({})
    assert all(torch.equal(before[name], tensor) for name, tensor in bank.state_dict().items())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features", lambda rows: rows.half()),
        ("features", lambda rows: torch.full_like(rows, torch.nan)),
        ("logits", lambda rows: rows / 0),
        ("logits", lambda rows: rows.tolist()),
        ("ids", lambda rows: rows.float()),
        ("counts", lambda rows: rows + 9),
        ("counts", lambda rows: rows - 9),
        ("heads", lambda rows: rows + 9),
        ("heads", lambda rows: rows - 9),
    ],
)
def test_an_invalid_state_is_refused(name: str, change: Any) -> None:
    """Slots beyond the queue would be written to, or read, in a later step."""
    bank = QueueBank(CLASSES, 3, WIDTH)
    bank.push(batch([(0, 1), (1, 2)], 0))
    before = {key: tensor.clone() for key, tensor in bank.state_dict().items()}
    with pytest.raises(ValueError, match=f"{name} are|counts are out of range|NaN"):
        bank.load_state_dict({**before, name: change(before[name])})
    assert all(torch.equal(before[key], tensor) for key, tensor in bank.state_dict().items())


def test_a_queue_loaded_from_parameters_has_no_gradient() -> None:
    bank = QueueBank(CLASSES, 3, WIDTH)
    state = bank.state_dict()
    bank.load_state_dict(dict(state, features=torch.nn.Parameter(state["features"].clone())))
    assert not bank.features.requires_grad


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_sizes_are_checked(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        QueueBank(*sizes)
