"""What is not sound in what was found, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from mmickd.commands.checking.report import FrozenBankReport
from mmickd.commands.checking.trial_steps import StepReport
from mmickd.diagnostics.class_order import numbering_hint
from mmickd.diagnostics.inspection import is_near_chance

WRONG_LABELS = 0.04
"""Share of labels that look wrong from which on it is worth a look."""
MOST_COMPLETE = 0.9
"""Share of queries that should find all positives."""
STRONG, WEAK = 50.0, 0.01
"""Gradient of a term, as a multiple of the task loss's, that is hardly meant. Published weights go
up to 32 (DKD: weight 8, temperature 4)."""


def warnings_of_frozen(bank: FrozenBankReport) -> Iterator[str]:
    """What looks wrong in the bank of a frozen teacher, beside what its run says itself."""
    report = bank.report
    accuracy = report.knn_accuracy
    if accuracy is not None and is_near_chance(accuracy, report.present):
        yield (
            f"the nearest rows name the class of {accuracy:.1%} of the rows, chance is "
            f"{1 / report.present:.1%}: the teacher's features do not tell the classes apart, so "
            "what is retrieved is not alike. Are its weights trained, its images normalised as in "
            "its training?"
        )
    if bank.wrong_labels is not None and bank.wrong_labels >= WRONG_LABELS:
        yield (
            f"about {bank.wrong_labels:.0%} of the labels look wrong: the nearest rows and the "
            "teacher's predictions for them have another class. Run `mmickd gallery` and look at "
            "label_issues.csv."
        )
    if bank.complete is not None and bank.complete < MOST_COMPLETE:
        yield (
            f"{bank.complete:.1%} of the rows find all the positives that are wanted (rows of "
            "their own image are none): set num_positives lower, or bank.capacity_per_class or "
            "bank.max_images higher."
        )


def warning_of_one_class(bank: FrozenBankReport, images: int, classes: Sequence[str]) -> str:
    """Return the warning of a small bank that has rows of one class only.

    Args:
        bank: with such a small bank.
        images: of the small bank.
        classes: their names.
    """
    label = int(bank.sampled.labels[0])
    return (
        f"all rows of the small bank are of class {label} ({classes[label]}), the others are not "
        f"seen in {images} images: agreement, neighbours and gradients cannot be judged. Give "
        "--images a larger number."
    )


def warnings_of_labels(labels: Tensor, said: Tensor, classes: Sequence[str]) -> Iterator[str]:
    """Whether labels and answers of a trained teacher fit each other.

    Args:
        labels: ``(R,)`` int64.
        said: ``(R,)`` int64, the teacher's argmax.
        classes: their names.
    """
    hint = numbering_hint(labels, said, classes)
    if hint is not None:
        yield hint


def warnings_of_steps(steps: StepReport, are_judged: bool) -> Iterator[str]:
    """Terms that pull hardly at all, or much harder than the task.

    Args:
        steps: on real batches.
        are_judged: False for a teacher that learns, whose first gradients mean little, and for a
            bank of one class, which has no negatives.
    """
    task = steps.task.gradient
    for name, pull in steps.terms.items():
        if not are_judged or not task or pull.gradient is None:
            continue
        ratio = pull.gradient / task
        if ratio > STRONG:
            yield (
                f"loss_{name} pulls {ratio:.0f} times as hard as the task's losses (norm of the "
                "gradient at the student's logits, at its full weight): set its loss_weight lower."
            )
        elif ratio < WEAK:
            yield (
                f"loss_{name} pulls {ratio:.1g} times as hard as the task's losses (norm of the "
                "gradient at the student's logits, at its full weight): it has hardly any effect. "
                "Set its loss_weight higher, or leave it out (None)."
            )
