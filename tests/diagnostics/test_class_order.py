"""Labels that a teacher contradicts, each kind told apart from the others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.banks import MemoryBank
from mmickd.diagnostics.class_order import numbering_hint, share_of_wrong_labels
from mmickd.structures import Samples

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


def bank_of(labels: Tensor, said: Tensor, sureness: Tensor, lie: Tensor) -> MemoryBank:
    """Features that lie by ``lie``; logits that say ``said``."""
    features = F.normalize(
        F.one_hot(lie, CLASSES) + 0.1 * torch.randn(len(lie), CLASSES, generator=rows(9)[0]), dim=1
    )
    logits = sureness[:, None] * F.one_hot(said, CLASSES)
    return MemoryBank(Samples(features, logits, labels, torch.arange(len(labels))), CLASSES)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_wrong_labels_are_counted(share: float) -> None:
    random, truth = rows()
    labels = mistaken(truth, share, random)
    bank = bank_of(labels, truth, torch.full((ROWS,), 9.0), lie=truth)
    found = share_of_wrong_labels(bank, exclude_same_id=True)
    assert found == pytest.approx(float((labels != truth).double().mean()), rel=0.2)


def test_the_only_row_of_its_class_is_not_counted() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, 4])
    said = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 1])  # the last three lie among other classes
    bank = bank_of(labels, said, torch.full((9,), 9.0), lie=said)
    assert share_of_wrong_labels(bank, exclude_same_id=True) == 0
    assert share_of_wrong_labels(bank_of(labels[5:], *[torch.ones(4).long()] * 3), True) is None


def test_errors_of_the_teacher_are_not_taken_for_wrong_labels() -> None:
    random, labels = rows()
    said = mistaken(labels, 0.2, random)
    # its features lie where it says; it is less sure of what is wrong
    sureness = torch.where(said == labels, 9.0, 1.0)
    sureness[(said != labels).nonzero()[::3]] = 9.0
    assert share_of_wrong_labels(bank_of(labels, said, sureness, lie=said), True) is None


def test_a_teacher_that_contradicts_its_own_features_says_nothing() -> None:
    _, labels = rows()
    said, sure = (labels + 1) % CLASSES, torch.full((ROWS,), 9.0)
    assert not share_of_wrong_labels(bank_of(labels, said, sure, lie=labels), True)
