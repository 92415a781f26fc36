"""Order of classes: detection of labels whose numbering differs from the teacher's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmickd.diagnostics.bank_report import mean_over_classes
from mmickd.diagnostics.finding import Finding

MIN_GAIN = 0.2
"""Minimum accuracy gain by shifted labels before a shift is reported. The new accuracy must also be
twice the present accuracy, and this far above chance level (0 is chance level, 1 is no error)."""
MAX_PAIRS = 4
"""Maximum number of pairs of classes in a message."""


def class_order_findings(
    labels: Tensor, predictions: Tensor, names: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding if the teacher's accuracy is much higher with the classes in another order.

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
        f"the teacher seems to number the classes differently: its argmax {present}, in another "
        f"order it would be the label of {new_accuracy:.1%} (label {', '.join(pairs)}{more}). Give "
        "the training data the teacher's order of classes (metainfo.classes, folders).",
    )
