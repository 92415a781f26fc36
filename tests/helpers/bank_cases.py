"""Numbered rows, and a check of the rows of a class or an image."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.structures import Samples


def numbered(labels: list[int], classes: int, dtype: torch.dtype = torch.float32) -> Samples:
    """Return rows whose four tensors hold the number of the row."""
    n = len(labels)
    row = torch.arange(n)
    return Samples(
        row[:, None].to(dtype).expand(n, 3) + torch.tensor([0.0, 0.25, 0.5], dtype=dtype),
        row[:, None].to(dtype).expand(n, classes).clone(),
        torch.tensor(labels, dtype=torch.long),
        row + 1000,
    )


def check_rows(values: Tensor, query: Tensor, rows: Tensor, mask: Tensor, width: int) -> None:
    """Check that ``rows[mask]`` are the rows with the value (0 or more) of each query, in order.

    Args:
        values: ``(M,)``; class or image of each row.
        query: ``(Q,)``; class or image of each query.
        rows: ``(Q, width)`` rows.
        mask: ``(Q, width)`` bool.
        width: Number of rows of the value with the most rows.
    """
    valid = [v for v in values.tolist() if v >= 0]
    assert width == max([valid.count(v) for v in valid], default=0)
    assert rows.shape == mask.shape == (len(query), width)
    for value, slots, is_row in zip(query.tolist(), rows, mask, strict=True):
        expected = [r for r, v in enumerate(values.tolist()) if v == value and v >= 0]
        assert slots[is_row].tolist() == expected
        # Masked slots repeat one of the rows, so that masking twice is harmless.
        assert not expected or set(slots.tolist()) == set(expected)
        assert bool(((slots >= 0) & (slots < len(values))).all())
