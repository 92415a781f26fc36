"""What a teacher's answers say of the labels: numbered otherwise, or wrong here and there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmickd.banks.exclusion import has_class_neighbour
from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics.bank_report import (
    ASKED,
    COMPARED,
    mean_over_classes,
    spaced,
    votes_of_others,
)

CLEARLY_BETTER = 0.2
"""By so much more of the rows the teacher must be right on if labels are shifted; also on twice as
many, and so far on the way from chance to all."""
SURE = 0.9
"""Probability from which on a teacher is sure."""
AS_SURE = 0.8
"""Share of rows against their label on which it is, as a multiple of that of the others."""
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


def share_of_wrong_labels(bank: MemoryBank, exclude_same_id: bool) -> float | None:
    """Share of the rows on which the teacher is sure of another class, as are most nearest rows.

    That alone could be a teacher's fault, whose features are wrong where it is. But a wrong label
    does not make a teacher less sure, and where it errs itself it is.

    Args:
        bank: whole, on the CPU.
        exclude_same_id: whether a row's own image is left out.

    Returns:
        The share of the rows whose class another row could vote for; None where there is no such
        row, or the teacher is less sure against the labels than with them.
    """
    compared = spaced(len(bank), COMPARED)
    asked = compared[spaced(len(compared), ASKED)]
    asked = asked[has_class_neighbour(bank, asked, compared, exclude_same_id)]
    if not len(asked):
        return None
    votes = votes_of_others(bank, asked, compared, exclude_same_id)
    most, named = votes.max(dim=1)
    best, said = bank.logits[asked].float().softmax(dim=1).max(dim=1)
    sure, against = best > SURE, said != bank.labels[asked]
    as_sure = sure[against].double().mean() >= AS_SURE * sure[~against].double().mean()
    wrong = against & sure & (named == said) & (most > votes.sum(dim=1) / 2)
    return float(wrong.double().mean()) if as_sure or not against.any() else None
