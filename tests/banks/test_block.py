"""A block of a bank gives the rows of classes and images that the bank gives."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank
from tests.helpers.retrieval_cases import samples


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 45))
def test_rows_of_classes_and_images_are_those_of_the_bank(seed: int, rows: int, size: int) -> None:
    g = torch.Generator().manual_seed(seed)
    bank, query = MemoryBank(samples(g, rows, 4, 3, 6), 3), samples(g, 7, 4, 3, 6, least_label=-1)
    whole = torch.zeros(7, rows)
    bank.leave_out(whole, query.ids)
    next_row = 0
    for begin, block in bank.blocks(size):
        part = torch.zeros(7, len(block.features))
        end = begin + part.shape[1]
        assert begin == next_row and torch.equal(block.features, bank.features[begin:end])
        block.leave_out(part, query.ids)
        assert torch.equal(part, whole[:, begin:end])
        slots, mask = block.rows_of_class(query.labels)
        for i, label in enumerate(query.labels):
            expected = (bank.labels[begin:end] == label).nonzero()[:, 0]
            assert torch.equal(slots[i, mask[i]], expected)
        next_row = end
    assert next_row == rows
