"""Rows that can be told apart, and what holds for rows that are looked up by class or image."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.structures import Samples


def numbered(labels: list[int], classes: int, dtype: torch.dtype = torch.float32) -> Samples:
    """Row i carries i in each of its four parts."""
    n = len(labels)
    row = torch.arange(n)
    return Samples(
        row[:, None].to(dtype).expand(n, 3) + torch.tensor([0.0, 0.25, 0.5], dtype=dtype),
        row[:, None].to(dtype).expand(n, classes).clone(),
        torch.tensor(labels, dtype=torch.long),
        row + 1000,
    )


def check_rows(values: Tensor, query: Tensor, got: Tensor, found: Tensor, width: int) -> None:
    """``got[found]`` are the rows whose value (0 or more) is that of the query, in order.

    Args:
        values: ``(M,)``; class or image of each row.
        query: ``(Q,)``; what was looked up.
        got: ``(Q, width)`` rows.
        found: ``(Q, width)`` bool.
        width: rows of the value that has most.
    """
    known = [v for v in values.tolist() if v >= 0]
    assert width == max([known.count(v) for v in known], default=0)
    assert got.shape == found.shape == (len(query), width)
    for value, own, there in zip(query.tolist(), got, found, strict=True):
        want = [r for r, v in enumerate(values.tolist()) if v == value and v >= 0]
        assert own[there].tolist() == want
        # What fills the slots beyond is one of the rows too, so that masking twice is harmless.
        assert not want or set(own.tolist()) == set(want)
        assert bool(((own >= 0) & (own < len(values))).all())
