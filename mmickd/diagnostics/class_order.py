"""Order of classes: labels that are numbered otherwise than the teacher's classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmickd.diagnostics.bank_report import mean_over_classes

CLEARLY_BETTER = 0.2
"""By so much more of the rows the teacher must be right on if labels are shifted; also on twice as
many, and so far on the way from chance to all."""
SHOWN = 4
"""Pairs of classes in a message."""


def numbering_hint(labels: Tensor, said: Tensor, names: Sequence[str]) -> str | None:
    """Whether the teacher would be right if the classes were numbered otherwise.

    Args:
        labels: ``(R,)`` int64.
        said: ``(R,)`` int64, the teacher's argmax.
        names: of the ``C`` classes.

    Returns:
        A sentence on what is wrong, where to look; None if no numbering is much better.

    Example:
        >>> labels = torch.tensor([1, 1, 2, 3])
        >>> numbering_hint(labels, labels - 1, ["sky", "car", "tree", "road"])[:30]
        'the labels look shifted by one'
        >>> numbering_hint(labels, labels, ["sky", "car", "tree", "road"]) is None
        True
    """
    now = mean_over_classes((said == labels).double(), labels)
    told = f"is the label of {now:.1%} of a class's rows"
    guessed = CLEARLY_BETTER + (1 - CLEARLY_BETTER) / len(names)
    for shift in (-1, 1):
        inside = (labels + shift >= 0) & (labels + shift < len(names))
        if not inside.any():
            continue
        right = (said == labels + shift)[inside].double()
        then = mean_over_classes(right, labels[inside])
        if then > max(2 * now, now + CLEARLY_BETTER, guessed):
            return (
                f"the labels look shifted by one: the teacher's argmax {told}, but label "
                f"{'-' if shift < 0 else '+'} 1 of {then:.1%}. Look at reduce_zero_label of the "
                "training data, and at the order of its classes (metainfo.classes, folders)."
            )
    meant = {c: int(said[labels == c].mode().values) for c in labels.unique().tolist()}
    moved = [c for c, other in meant.items() if c != other]
    if len(set(meant.values())) < len(meant) or not moved:
        return None
    right = said == torch.tensor([meant.get(c, c) for c in range(len(names))])[labels]
    then = mean_over_classes(right.double(), labels)
    if then < (1 + now) / 2:
        return None
    pairs = [f"{c} ({names[c]}) is its {meant[c]}" for c in moved[:SHOWN]]
    more = f", and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    return (
        f"the teacher seems to number the classes otherwise: its argmax {told}, in another order "
        f"it would be right on {then:.1%} (label {', '.join(pairs)}{more}). Give the training "
        "data the order of classes that the teacher was trained with (metainfo.classes, folders)."
    )
