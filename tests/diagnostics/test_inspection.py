"""What is said of a bank, and what is warned of."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mmickd.banks import MemoryBank
from mmickd.diagnostics.inspection import inspect_bank
from mmickd.losses.terms import LossTerms
from mmickd.structures import Samples
from tests.helpers.logs import Heard

FEW: dict[str, Any] = dict(picd=dict(num_positives=3), nicd=dict(num_negatives=4))


def bank(
    labels: torch.Tensor, classes: int, right: float = 1.0, shift: int = 0, seed: int = 0
) -> MemoryBank:
    """Rows of a teacher that is right on a share of them, of classes numbered otherwise."""
    g = torch.Generator().manual_seed(seed)
    known = torch.rand(len(labels), generator=g) < right
    guess = torch.randint(0, classes, labels.shape, generator=g)
    said = torch.where(known, (labels + shift) % classes, guess)
    logits = F.one_hot(said, classes).float() * 5
    features = F.normalize(F.one_hot(labels, classes) + 0.1, dim=1)
    return MemoryBank(Samples(features.half(), logits, labels, torch.arange(len(labels))), classes)


def balanced(classes: int, rows: int) -> torch.Tensor:
    return torch.arange(classes).repeat(rows)


def skewed(*rows: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))


def warnings(heard: Heard, of: MemoryBank, losses: Any = FEW) -> list[str]:
    inspect_bank("image", of, LossTerms.build(losses), exclude_same_id=True)
    return heard.warnings()


def test_the_line_of_a_sound_bank(heard: Heard) -> None:
    assert warnings(heard, bank(balanced(4, 10), 5)) == []
    (line,) = heard.records(logging.INFO)
    assert line == (
        "image level: rows of a class: median 10, least 10 (1 of 5 classes without); the teacher's "
        "argmax is the label of 100.0% of the rows (mean over classes 100.0%); of 40 rows, the 5 "
        "nearest others name the class of 100.0%, 100.0% find all positives"
    )


@pytest.mark.parametrize(
    ("labels", "classes", "right", "shift"),
    [
        (balanced(2, 200), 2, 0.0, 0),
        (balanced(10, 50), 10, 0.0, 0),
        (balanced(10, 50), 10, 1.0, 1),  # reduce_zero_label forgotten
        (balanced(150, 8), 150, 0.2, 1),
        (skewed(950, 50), 2, 0.0, 0),
    ],
)
def test_a_teacher_that_hardly_beats_chance(
    heard: Heard, labels: torch.Tensor, classes: int, right: float, shift: int
) -> None:
    (said,) = warnings(heard, bank(labels, classes, right, shift))
    assert said.startswith("image level: the teacher hardly beats chance")
    assert "reduce_zero_label" in said and "mean, std" in said
    assert len(said) < 500


def test_always_the_largest_class_is_chance_too(heard: Heard) -> None:
    labels = skewed(950, 50)
    sound = bank(labels, 2)
    rows = Samples(sound.features, torch.tensor([[5.0, 0.0]]).expand(1000, 2), labels, sound.ids)
    (said,) = warnings(heard, MemoryBank(rows, 2))
    assert "50.0% of a class's rows, chance is 50.0%" in said
    assert "95.0% of the rows (mean over classes 50.0%)" in heard.records(logging.INFO)[0]


@pytest.mark.parametrize(
    ("labels", "classes", "right"),
    [
        (balanced(2, 200), 2, 0.5),
        (balanced(10, 50), 10, 0.3),
        (balanced(150, 8), 150, 0.2),
        (skewed(950, 50), 2, 0.5),
        (skewed(900, 50, 30, 20), 4, 0.5),
    ],
)
def test_a_weak_teacher_is_one(
    heard: Heard, labels: torch.Tensor, classes: int, right: float
) -> None:
    assert warnings(heard, bank(labels, classes, right)) == []


def test_more_rows_than_there_are(heard: Heard) -> None:
    losses = dict(
        picd=dict(num_positives=9), nicd=dict(num_negatives=10**7), more=dict(type="PICDLoss")
    )
    positives, negatives, more = warnings(heard, bank(skewed(90, 8, 8), 3), losses)
    assert "losses.picd.num_positives=9 is more than most classes have rows (median 8)" in positives
    assert "losses.nicd.num_negatives=10000000 is more than the bank has rows (106)" in negatives
    assert "losses.more.num_positives=16" in more


def test_what_never_retrieves_is_not_judged(heard: Heard) -> None:
    every = dict(picd=dict(num_positives=None), nicd=dict(num_negatives=999, loss_weight=0))
    assert warnings(heard, bank(balanced(3, 4), 3), every) == []
    assert "find all positives" not in heard.records(logging.INFO)[0]
