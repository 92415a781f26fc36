"""Rows of large tensors: grown, thinned out, put into another order, looked through."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks.chunked_rows import CHECKED_ROWS, GrowingRows, is_finite, reorder
from mmickd.utils import distributed


@pytest.fixture(autouse=True, params=[1, 24, 2**26])
def chunk_bytes(request: pytest.FixtureRequest) -> None:
    """Blocks of one row, of two, of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "CHUNK_BYTES", request.param)
        yield


SEED = st.integers(0, 2**31)


def drained(rows: GrowingRows) -> torch.Tensor:
    return torch.cat([torch.empty(0, 6, dtype=torch.float16), *rows.drain()])


@settings(max_examples=60, deadline=None)
@given(SEED, st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), max_size=6))
def test_rows_are_those_that_came_and_were_kept(seed: int, steps: list[tuple[int, float]]) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, want = GrowingRows(6, torch.float16), torch.empty(0, 6, dtype=torch.float16)
    for count, share in steps:
        new = torch.randn(count, 6, generator=g)
        rows.append(new)
        want = torch.cat([want, new.half()])
        kept = (torch.rand(len(want), generator=g) < share).nonzero()[:, 0]
        rows.keep(kept)
        want = want[kept]
        assert len(rows) == len(want)
    assert torch.equal(drained(rows), want)
    assert len(rows) == 0


def test_a_block_that_was_read_is_forgotten() -> None:
    rows = GrowingRows(6, torch.float16)
    rows.append(torch.randn(9, 6))
    held = [len(rows) for _ in rows.drain()]
    assert held == sorted(held, reverse=True) and held[-1] == 0


@settings(max_examples=60, deadline=None)
@given(SEED, st.integers(0, 40), st.integers(1, 40))
def test_order_in_place(seed: int, count: int, width: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, order = torch.randn(count, width, generator=g).half(), torch.randperm(count, generator=g)
    want = rows[order]
    reorder(rows, order)
    assert torch.equal(rows, want)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("row", [0, CHECKED_ROWS, 2 * CHECKED_ROWS])
def test_one_value_that_is_not_finite_anywhere(dtype: torch.dtype, row: int) -> None:
    limits = torch.finfo(dtype)
    values = torch.tensor([limits.max, limits.min, limits.tiny, 0.0, -0.0], dtype=dtype)
    values = values.repeat(2 * CHECKED_ROWS + 1, 1)
    assert is_finite(values)
    for value in ("nan", "inf", "-inf"):
        values[row, 4] = float(value)
        assert not is_finite(values)
    values[row, 4] = 1.0
    assert is_finite(values)
