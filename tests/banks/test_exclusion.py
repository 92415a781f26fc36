"""Whose rows are a query's own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank, QueueBank
from mmickd.banks.exclusion import ImageIndex, has_class_neighbour, same_image
from mmickd.structures import Samples
from tests.helpers.bank_cases import check_rows, numbered

images = st.lists(st.integers(-1, 4), max_size=40)
asked_for = st.lists(st.integers(-1, 7), max_size=6)


def whole(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.long)


@settings(max_examples=100, deadline=None)
@given(images, asked_for)
def test_rows_of_an_image(rows: list[int], asked: list[int]):
    ids, query = whole(rows), whole(asked)
    index = ImageIndex(ids)
    check_rows(ids, query, *index.rows_of(query), index.largest)


def test_an_unknown_image_has_no_rows():
    index = ImageIndex(whole([-1, -1, 3]))
    assert index.largest == 1
    assert index.rows_of(whole([-1]))[1].tolist() == [[False]]
    assert ImageIndex(whole([-1])).largest == 0


@settings(max_examples=100, deadline=None)
@given(images, asked_for)
def test_the_same_image_is_a_known_one_of_the_same_number(rows: list[int], asked: list[int]):
    got = same_image(whole(rows), whole(asked))
    assert got.shape == (len(asked), len(rows))
    assert got.tolist() == [[own == row and own >= 0 for row in rows] for own in asked]


def test_rows_may_differ_from_query_to_query():
    rows = torch.tensor([[7, 8, -1], [7, 8, -1]])
    assert same_image(rows, torch.tensor([8, -1])).tolist() == [[False, True, False], [False] * 3]


@settings(max_examples=100, deadline=None)
@given(images, asked_for)
def test_both_banks_leave_out_the_rows_of_the_same_image_and_no_others(
    rows: list[int], asked: list[int]
):
    """Which the frozen bank finds by an index, and the queue by comparing."""
    given_rows = numbered([i % 2 for i in range(len(rows))], 2)
    samples = Samples(given_rows.features, given_rows.logits, given_rows.labels, whole(rows))
    frozen, queue = MemoryBank(samples, 2), QueueBank(2, max(1, len(rows)), 3)
    queue.push(samples)
    query = whole(asked)
    for bank in (frozen, queue):
        similarity = torch.rand(len(asked), len(bank))
        before = similarity.clone()
        bank.leave_out(similarity, query)
        masked = same_image(bank.ids, query)
        if bank is queue:
            slots = torch.arange(queue.max_class_size)
            masked |= (slots >= queue.counts[:, None]).flatten()  # nothing lies there
        assert torch.equal(similarity, before.masked_fill(masked, -torch.inf))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=12),
    st.sets(st.integers(0, 11)),
    st.booleans(),
)
def test_a_row_has_a_voter_where_a_loop_finds_one(
    rows: list[tuple[int, int]], voting: set[int], exclude: bool
):
    labels, ids = whole([label for label, _ in rows]), whole([image for _, image in rows])
    features = torch.zeros(len(rows), 2)
    bank = MemoryBank(Samples(features, torch.zeros(len(rows), 3), labels, ids), 3)
    voters = [row for row in sorted(voting) if row < len(rows)]
    expected = [
        any(
            bank.labels[voter] == bank.labels[row]
            and voter != row
            and not (exclude and bank.ids[voter] == bank.ids[row] != -1)
            for voter in voters
        )
        for row in range(len(rows))
    ]
    found = has_class_neighbour(bank, torch.arange(len(rows)), whole(voters), exclude)
    assert found.tolist() == expected
