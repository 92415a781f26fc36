"""Predictions that differ from the labels: shifts, other orders, label errors, mistakes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.banks import MemoryBank
from mmickd.diagnostics.class_order import class_order_findings, share_of_wrong_labels
from mmickd.structures import Samples

CLASSES, ROWS = 5, 400
NAMES = ["sky", "road", "car", "tree", "wall"]


def rows(seed: int = 0) -> tuple[torch.Generator, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return random, torch.randint(CLASSES, (ROWS,), generator=random)


def with_errors(classes: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Return the classes with another one on a share of the rows."""
    is_error = torch.rand(len(classes), generator=random) < share
    other = (classes + torch.randint(1, CLASSES, classes.shape, generator=random)) % CLASSES
    return torch.where(is_error, other, classes)


def findings(labels: Tensor, predictions: Tensor) -> dict[str, str]:
    """Return the texts of the findings by code."""
    return {f.code: f.text for f in class_order_findings(labels, predictions, NAMES)}


@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("errors", [0.0, 0.4])
def test_a_shift_is_found_with_weak_teachers_too(shift: int, errors: float) -> None:
    random, labels = rows()
    inside = (labels + shift >= 0) & (labels + shift < CLASSES)
    predictions = with_errors((labels + shift).clamp(0, CLASSES - 1), errors, random)
    texts = findings(labels[inside], predictions[inside])
    assert f"label {'-' if shift < 0 else '+'} 1 of" in texts["shifted_labels"]
    assert len(texts) == 1


def test_another_order_is_found() -> None:
    random, labels = rows()
    predictions = with_errors(torch.tensor([2, 1, 0, 4, 3])[labels], 0.1, random)
    texts = findings(labels, predictions)
    assert "0 (sky) is its 2, 2 (car) is its 0" in texts["reordered_classes"] and len(texts) == 1


@pytest.mark.parametrize("errors", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_errors_are_no_order(errors: float, seed: int) -> None:
    random, labels = rows(seed)
    assert not findings(labels, with_errors(labels, errors, random))


def test_one_prediction_for_all_rows_is_no_order() -> None:
    _, labels = rows()
    assert not findings(labels, torch.full_like(labels, 3))


def bank_of(
    labels: Tensor, predictions: Tensor, confidence: Tensor, clusters: Tensor
) -> MemoryBank:
    """Return rows with features around the cluster's centre and logits of the predictions."""
    features = F.normalize(
        F.one_hot(clusters, CLASSES)
        + 0.1 * torch.randn(len(clusters), CLASSES, generator=rows(9)[0]),
        dim=1,
    )
    logits = confidence[:, None] * F.one_hot(predictions, CLASSES)
    return MemoryBank(Samples(features, logits, labels, torch.arange(len(labels))), CLASSES)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_label_errors_are_counted(share: float) -> None:
    random, truth = rows()
    labels = with_errors(truth, share, random)
    bank = bank_of(labels, truth, torch.full((ROWS,), 9.0), clusters=truth)
    estimate = share_of_wrong_labels(bank, exclude_same_id=True)
    assert estimate == pytest.approx(float((labels != truth).double().mean()), rel=0.2)


def test_the_only_row_of_its_class_is_not_counted() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, 4])
    predictions = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 1])  # the last three: other clusters
    bank = bank_of(labels, predictions, torch.full((9,), 9.0), clusters=predictions)
    assert share_of_wrong_labels(bank, exclude_same_id=True) == 0
    assert share_of_wrong_labels(bank_of(labels[5:], *[torch.ones(4).long()] * 3), True) is None


def test_errors_of_the_teacher_are_no_label_errors() -> None:
    random, labels = rows()
    predictions = with_errors(labels, 0.2, random)
    # features of the predicted class; errors have a lower confidence
    confidence = torch.where(predictions == labels, 9.0, 1.0)
    confidence[(predictions != labels).nonzero()[::3]] = 9.0
    bank = bank_of(labels, predictions, confidence, clusters=predictions)
    assert share_of_wrong_labels(bank, True) is None


def test_predictions_against_the_neighbours_are_no_label_errors() -> None:
    _, labels = rows()
    predictions, confidence = (labels + 1) % CLASSES, torch.full((ROWS,), 9.0)
    assert not share_of_wrong_labels(bank_of(labels, predictions, confidence, labels), True)
