"""Labels that a teacher contradicts, each kind told apart from the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmickd.diagnostics.class_order import numbering_hint

CLASSES, ROWS = 5, 400
NAMES = ["sky", "road", "car", "tree", "wall"]


def rows(seed: int = 0) -> tuple[torch.Generator, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return random, torch.randint(CLASSES, (ROWS,), generator=random)


def mistaken(said: Tensor, share: float, random: torch.Generator) -> Tensor:
    """``said`` with another class on a share of the rows."""
    wrong = torch.rand(len(said), generator=random) < share
    other = (said + torch.randint(1, CLASSES, said.shape, generator=random)) % CLASSES
    return torch.where(wrong, other, said)


@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("errors", [0.0, 0.4])
def test_a_shift_is_named_of_weak_teachers_too(shift: int, errors: float) -> None:
    random, labels = rows()
    inside = (labels + shift >= 0) & (labels + shift < CLASSES)
    said = mistaken((labels + shift).clamp(0, CLASSES - 1), errors, random)
    hint = numbering_hint(labels[inside], said[inside], NAMES)
    assert hint is not None and f"label {'-' if shift < 0 else '+'} 1 of" in hint


def test_another_order_is_named() -> None:
    random, labels = rows()
    said = mistaken(torch.tensor([2, 1, 0, 4, 3])[labels], 0.1, random)
    hint = numbering_hint(labels, said, NAMES)
    assert hint is not None and "0 (sky) is its 2, 2 (car) is its 0" in hint


@pytest.mark.parametrize("errors", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_errors_are_no_order(errors: float, seed: int) -> None:
    random, labels = rows(seed)
    assert numbering_hint(labels, mistaken(labels, errors, random), NAMES) is None


def test_one_answer_to_all_is_no_order() -> None:
    _, labels = rows()
    assert numbering_hint(labels, torch.full_like(labels, 3), NAMES) is None
