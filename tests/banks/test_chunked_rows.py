"""Rows of large tensors: appended, removed, reordered, checked for NaN."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks.chunked_rows import CHECKED_ROWS, GrowingRows, is_finite, reorder
from mmickd.utils import distributed


@pytest.fixture(autouse=True, params=[1, 24, 2**26])
def chunk_bytes(request: pytest.FixtureRequest) -> None:
    """Let blocks have one row, two rows, or all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "CHUNK_BYTES", request.param)
        yield


SEED = st.integers(0, 2**31)


def drain(rows: GrowingRows) -> torch.Tensor:
    return torch.cat([torch.empty(0, 6, dtype=torch.float16), *rows.drain()])


@settings(max_examples=60, deadline=None)
@given(SEED, st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), max_size=6))
def test_appended_rows_stay_if_they_are_kept(seed: int, steps: list[tuple[int, float]]) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, expected = GrowingRows(6, torch.float16), torch.empty(0, 6, dtype=torch.float16)
    for count, share in steps:
        new = torch.randn(count, 6, generator=g)
        rows.append(new)
        expected = torch.cat([expected, new.half()])
        kept = (torch.rand(len(expected), generator=g) < share).nonzero()[:, 0]
        rows.keep(kept)
        expected = expected[kept]
        assert len(rows) == len(expected)
    assert torch.equal(drain(rows), expected)
    assert len(rows) == 0


def test_a_block_is_released_when_it_is_yielded() -> None:
    rows = GrowingRows(6, torch.float16)
    rows.append(torch.randn(9, 6))
    lengths = [len(rows) for _ in rows.drain()]
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] == 0


@settings(max_examples=60, deadline=None)
@given(SEED, st.integers(0, 40), st.integers(1, 40))
def test_reorder(seed: int, count: int, width: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, order = torch.randn(count, width, generator=g).half(), torch.randperm(count, generator=g)
    expected = rows[order]
    reorder(rows, order)
    assert torch.equal(rows, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("row", [0, CHECKED_ROWS, 2 * CHECKED_ROWS])
def test_one_value_that_is_not_finite_is_detected_in_any_row(dtype: torch.dtype, row: int) -> None:
    limits = torch.finfo(dtype)
    values = torch.tensor([limits.max, limits.min, limits.tiny, 0.0, -0.0], dtype=dtype)
    values = values.repeat(2 * CHECKED_ROWS + 1, 1)
    assert is_finite(values)
    for value in ("nan", "inf", "-inf"):
        values[row, 4] = float(value)
        assert not is_finite(values)
    values[row, 4] = 1.0
    assert is_finite(values)
