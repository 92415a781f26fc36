"""The teacher's predictions against the labels: classes in another order, label errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmickd.banks.exclusion import has_class_neighbour
from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics.bank_report import (
    COMPARED,
    QUERIES,
    mean_over_classes,
    neighbour_votes,
    spaced,
)
from mmickd.diagnostics.finding import Finding

MIN_GAIN = 0.2
"""Minimum gain of accuracy under shifted labels before a shift is reported; the accuracy must also
be at least double the present one, and so far on the way from chance to perfect."""
CONFIDENT = 0.9
"""Probability from which on a prediction is confident."""
MIN_CONFIDENCE_RATIO = 0.8
"""Minimum share of confident predictions where prediction and label differ, as a multiple of the
share where they agree."""
MAX_PAIRS = 4
"""Pairs of classes in a message."""


def class_order_findings(
    labels: Tensor, predictions: Tensor, names: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding if the teacher would be right with the classes in another order.

    Args:
        labels: ``(R,)`` int64.
        predictions: ``(R,)`` int64, the teacher's argmax.
        names: Names of the ``C`` classes.

    Example:
        >>> labels, names = torch.tensor([1, 1, 2, 3]), ["sky", "car", "tree", "road"]
        >>> [finding.code for finding in class_order_findings(labels, labels - 1, names)]
        ['shifted_labels']
        >>> list(class_order_findings(labels, labels, names))
        []
    """
    accuracy = mean_over_classes((predictions == labels).double(), labels)
    present = f"is the label of {accuracy:.1%} of a class's rows"
    far_from_chance = MIN_GAIN + (1 - MIN_GAIN) / len(names)
    for shift in (-1, 1):
        is_class = (labels + shift >= 0) & (labels + shift < len(names))
        if not is_class.any():
            continue
        right = (predictions == labels + shift)[is_class].double()
        shifted_accuracy = mean_over_classes(right, labels[is_class])
        if shifted_accuracy > max(2 * accuracy, accuracy + MIN_GAIN, far_from_chance):
            yield Finding(
                "shifted_labels",
                "warning",
                f"the labels look shifted by one: the teacher's argmax {present}, but label "
                f"{'-' if shift < 0 else '+'} 1 of {shifted_accuracy:.1%}. Check reduce_zero_label "
                "of the training data and the order of its classes (metainfo.classes, folders).",
            )
            return
    usual = {c: int(predictions[labels == c].mode().values) for c in labels.unique().tolist()}
    moved = [c for c, prediction in usual.items() if c != prediction]
    if len(set(usual.values())) < len(usual) or not moved:
        return
    renumbered = torch.tensor([usual.get(c, c) for c in range(len(names))])[labels]
    new_accuracy = mean_over_classes((predictions == renumbered).double(), labels)
    if new_accuracy < (1 + accuracy) / 2:
        return
    pairs = [f"{c} ({names[c]}) is its {usual[c]}" for c in moved[:MAX_PAIRS]]
    more = f", and {len(moved) - MAX_PAIRS} more" if len(moved) > MAX_PAIRS else ""
    yield Finding(
        "reordered_classes",
        "warning",
        f"the teacher seems to number the classes otherwise: its argmax {present}, in another "
        f"order it would be right on {new_accuracy:.1%} (label {', '.join(pairs)}{more}). Give the "
        "training data the teacher's order of classes (metainfo.classes, folders).",
    )


def share_of_wrong_labels(bank: MemoryBank, exclude_same_id: bool) -> float | None:
    """Return the share of rows whose label looks wrong.

    On such a row the teacher predicts another class with confidence, and most of the nearest rows
    have that class. A teacher with bad features makes such predictions too, but with less
    confidence than its right ones; a label error does not reduce its confidence.

    Args:
        bank: Whole bank, on the CPU.
        exclude_same_id: True if rows of a row's own image are left out of its neighbours.

    Returns:
        Share of the rows whose class has a row in another image; None if there is no such row, or
        the teacher is less confident where it differs from the labels.
    """
    compared = spaced(len(bank), COMPARED)
    rows = compared[spaced(len(compared), QUERIES)]
    rows = rows[has_class_neighbour(bank, rows, compared, exclude_same_id)]
    if not len(rows):
        return None
    votes = neighbour_votes(bank, rows, compared, exclude_same_id)
    most, neighbour_class = votes.max(dim=1)
    probability, predictions = bank.logits[rows].float().softmax(dim=1).max(dim=1)
    is_confident, differs = probability > CONFIDENT, predictions != bank.labels[rows]
    confident = is_confident.double()
    as_confident = confident[differs].mean() >= MIN_CONFIDENCE_RATIO * confident[~differs].mean()
    is_wrong = differs & is_confident & (neighbour_class == predictions)
    is_wrong &= most > votes.sum(dim=1) / 2
    return float(is_wrong.double().mean()) if as_confident or not differs.any() else None
