"""Rows of the query's own image, and queries without a neighbour of their class."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank, QueueBank
from mmickd.banks.exclusion import ImageIndex, has_class_neighbour, same_image
from mmickd.structures import Samples
from tests.helpers.bank_cases import check_rows, numbered

images = st.lists(st.integers(-1, 4), max_size=40)
query_images = st.lists(st.integers(-1, 7), max_size=6)


def int64(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.long)


@settings(max_examples=100, deadline=None)
@given(images, query_images)
def test_rows_of_an_image(rows: list[int], query_ids: list[int]):
    ids, query = int64(rows), int64(query_ids)
    index = ImageIndex(ids)
    check_rows(ids, query, *index.rows_of(query), index.largest)


def test_an_unknown_image_has_no_rows():
    index = ImageIndex(int64([-1, -1, 3]))
    assert index.largest == 1
    assert index.rows_of(int64([-1]))[1].tolist() == [[False]]
    assert ImageIndex(int64([-1])).largest == 0


@settings(max_examples=100, deadline=None)
@given(images, query_images)
def test_only_known_images_with_the_same_id_are_the_same(rows: list[int], query_ids: list[int]):
    result = same_image(int64(rows), int64(query_ids))
    assert result.shape == (len(query_ids), len(rows))
    assert result.tolist() == [[query == row and query >= 0 for row in rows] for query in query_ids]


def test_rows_may_differ_from_query_to_query():
    rows = torch.tensor([[7, 8, -1], [7, 8, -1]])
    assert same_image(rows, torch.tensor([8, -1])).tolist() == [[False, True, False], [False] * 3]


@settings(max_examples=100, deadline=None)
@given(images, query_images)
def test_both_banks_leave_out_the_rows_of_the_same_image_and_no_others(
    rows: list[int], query_ids: list[int]
):
    """The frozen bank has an index of its images, the queue compares all ids."""
    drawn = numbered([i % 2 for i in range(len(rows))], 2)
    samples = Samples(drawn.features, drawn.logits, drawn.labels, int64(rows))
    frozen, queue = MemoryBank(samples, 2), QueueBank(2, max(1, len(rows)), 3)
    queue.push(samples)
    query = int64(query_ids)
    for bank in (frozen, queue):
        similarity = torch.rand(len(query_ids), len(bank))
        before = similarity.clone()
        bank.leave_out(similarity, query)
        masked = same_image(bank.ids, query)
        if bank is queue:
            slots = torch.arange(queue.max_class_size)
            masked |= (slots >= queue.counts[:, None]).flatten()  # empty
        assert torch.equal(similarity, before.masked_fill(masked, -torch.inf))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=12),
    st.sets(st.integers(0, 11)),
    st.booleans(),
)
def test_rows_with_a_class_neighbour_are_those_of_a_loop(
    rows: list[tuple[int, int]], chosen: set[int], exclude: bool
):
    labels, ids = int64([label for label, _ in rows]), int64([image for _, image in rows])
    features = torch.zeros(len(rows), 2)
    bank = MemoryBank(Samples(features, torch.zeros(len(rows), 3), labels, ids), 3)
    candidates = [row for row in sorted(chosen) if row < len(rows)]
    expected = [
        any(
            bank.labels[candidate] == bank.labels[row]
            and candidate != row
            and not (exclude and bank.ids[candidate] == bank.ids[row] != -1)
            for candidate in candidates
        )
        for row in range(len(rows))
    ]
    result = has_class_neighbour(bank, torch.arange(len(rows)), int64(candidates), exclude)
    assert result.tolist() == expected
