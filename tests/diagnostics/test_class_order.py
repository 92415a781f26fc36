"""Predictions in another order of classes than the labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmickd.diagnostics.class_order import class_order_findings
from tests.helpers.label_errors import CLASSES, random_labels, with_errors

NAMES = ["sky", "road", "car", "tree", "wall"]


def findings(labels: Tensor, predictions: Tensor) -> dict[str, str]:
    """Return the texts of the findings by code."""
    return {f.code: f.text for f in class_order_findings(labels, predictions, NAMES)}


@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("errors", [0.0, 0.4])
def test_a_shift_is_found_with_weak_teachers_too(shift: int, errors: float) -> None:
    random, labels = random_labels()
    inside = (labels + shift >= 0) & (labels + shift < CLASSES)
    predictions = with_errors((labels + shift).clamp(0, CLASSES - 1), errors, random)
    texts = findings(labels[inside], predictions[inside])
    assert f"label {'-' if shift < 0 else '+'} 1 of" in texts["shifted_labels"]
    assert len(texts) == 1


def test_another_order_is_found() -> None:
    random, labels = random_labels()
    predictions = with_errors(torch.tensor([2, 1, 0, 4, 3])[labels], 0.1, random)
    texts = findings(labels, predictions)
    assert "0 (sky) is its 2, 2 (car) is its 0" in texts["reordered_classes"] and len(texts) == 1


@pytest.mark.parametrize("errors", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_errors_are_no_order(errors: float, seed: int) -> None:
    random, labels = random_labels(seed)
    assert not findings(labels, with_errors(labels, errors, random))


def test_one_prediction_for_all_rows_is_no_order() -> None:
    _, labels = random_labels()
    assert not findings(labels, torch.full_like(labels, 3))
