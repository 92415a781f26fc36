"""The frozen bank keeps every row, by class, in order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank
from mmickd.structures import Samples
from tests.helpers.bank_cases import check_rows, numbered
from tests.helpers.retrieval_cases import samples


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda c: st.tuples(st.just(c), st.lists(st.integers(0, c - 1), max_size=60))
    ),
    st.sampled_from([torch.float16, torch.float32]),
)
def test_rows_are_kept_and_sorted_stably(case, dtype):
    classes, labels = case
    bank = MemoryBank(numbered(labels, classes, dtype), classes)
    order = sorted(range(len(labels)), key=lambda i: labels[i])  # python's sort is stable
    assert len(bank) == len(labels)
    assert bank.ids.tolist() == [i + 1000 for i in order]
    assert bank.labels.tolist() == [labels[i] for i in order]
    assert bank.features[:, 0].tolist() == [float(i) for i in order]
    assert bank.logits[:, -1].tolist() == [float(i) for i in order]
    assert bank.features.dtype == bank.logits.dtype == dtype
    assert bank.offsets.shape == (classes + 1,) and int(bank.offsets[-1]) == len(labels)
    for c in range(classes):
        begin, end = bank.offsets[c], bank.offsets[c + 1]
        assert bool((bank.labels[begin:end] == c).all()) and end - begin == labels.count(c)
    assert bank.max_class_size == max(labels.count(c) for c in range(classes))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(-1, 3), max_size=6))
def test_rows_of_a_class(labels, query_labels):
    bank, query = MemoryBank(numbered(labels, 4), 4), torch.tensor(query_labels, dtype=torch.long)
    check_rows(bank.labels, query, *bank.rows_of_class(query), bank.max_class_size)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 45))
def test_rows_of_a_block_are_those_of_the_whole_bank(seed, rows, size):
    g = torch.Generator().manual_seed(seed)
    bank, query = MemoryBank(samples(g, rows, 4, 3, 6), 3), samples(g, 7, 4, 3, 6, least_label=-1)
    whole = torch.zeros(7, rows)
    bank.leave_out(whole, query.ids)
    for begin in range(0, rows, size):
        end = min(begin + size, rows)
        part = torch.zeros(7, end - begin)
        bank.leave_out(part, query.ids, begin)
        assert torch.equal(part, whole[:, begin:end])
        slots, is_row = bank.rows_of_class(query.labels, begin, end - begin)
        for i, label in enumerate(query.labels):
            expected = (bank.labels[begin:end] == label).nonzero()[:, 0]
            assert torch.equal(slots[i, is_row[i]], expected)


def test_a_bank_of_the_rows_of_a_bank_is_the_same():
    bank = MemoryBank(numbered([2, 0, 2, 1, 0], 3), 3)
    again = MemoryBank(bank.samples, 3)
    for name in (*Samples.names(), "offsets"):
        assert torch.equal(getattr(again, name), getattr(bank, name))


def test_a_bank_copies_its_rows():
    rows = numbered([0, 1, 1], 2)
    bank = MemoryBank(rows, 2)
    rows.logits.fill_(-5)
    assert bank.logits[0, 0] == 0


def test_sorted_rows_are_not_copied():
    rows = numbered([0, 1, 1], 2)
    bank = MemoryBank.from_sorted(rows, 2)
    for name in Samples.names():
        assert getattr(bank, name) is getattr(rows, name)
    again = MemoryBank(rows, 2)
    assert torch.equal(bank.offsets, again.offsets) and bank.max_class_size == 2


@pytest.mark.parametrize(
    ("labels", "message"), [([1, 0], "not sorted"), ([-1, 0], "must lie in"), ([0, 3], "must lie")]
)
def test_from_sorted_refuses_unsorted_rows_and_labels_outside_of_the_classes(labels, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank.from_sorted(numbered(labels, 3), 3)


@pytest.mark.parametrize("labels", [[0, -1], [0, 3], [7]])
def test_labels_outside_of_the_classes_are_refused(labels):
    with pytest.raises(ValueError, match=r"must lie in \[0, 3\)"):
        MemoryBank(numbered(labels, 3), 3)


def test_logits_of_another_width_are_refused():
    with pytest.raises(ValueError, match="3 columns for num_classes=4"):
        MemoryBank(numbered([0, 1], 3), 4)


def test_an_empty_bank():
    bank = MemoryBank(numbered([], 3), 3)
    assert len(bank) == 0 and bank.offsets.tolist() == [0] * 4 and bank.max_class_size == 0
    assert "0 rows of 0/3" in repr(bank)


def test_repr_and_size():
    bank = MemoryBank(numbered([0, 2], 3, torch.float16), 3)
    assert repr(bank).startswith("MemoryBank(2 rows of 2/3 classes, 3 float16 features")
    assert bank.nbytes == 2 * (3 * 2 + 3 * 2 + 8 + 8)


def test_to():
    bank = MemoryBank(numbered([0, 1], 2), 2)
    assert bank.to("cpu") is bank and bank.to(torch.device("cpu")) is bank
    assert bank.device == torch.device("cpu")
