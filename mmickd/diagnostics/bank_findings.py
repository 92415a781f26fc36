"""Rules for the figures of a bank; a figure outside its range yields a finding with advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from mmickd.diagnostics.finding import Finding

MIN_ABOVE_CHANCE = 0.1
"""Minimum accuracy of a teacher, on a scale from 0 (chance level) to 1 (no error)."""
MIN_COMPLETE = 0.9
"""Minimum share of queries that find all positives."""
LABEL_ISSUES = 0.04
"""Minimum share of label issues that is reported."""


@dataclass(frozen=True)
class RowRequest:
    """Rows that a term of the losses retrieves for each query.

    Args:
        term: Option of the term, such as ``losses.picd``.
        num_positives: Rows of the query's class; 0: none, or no fixed number.
        num_negatives: Rows of other classes.
    """

    term: str
    num_positives: int
    num_negatives: int


def is_near_chance(share: float, present: int) -> bool:
    """True if an accuracy is hardly above chance level.

    Args:
        share: Share of correctly predicted rows, in [0, 1].
        present: Number of classes with rows; with one class no share is near chance.
    """
    chance = 1 / present
    return present > 1 and share < chance + MIN_ABOVE_CHANCE * (1 - chance)


def teacher_findings(class_agreement: float, present: int) -> Iterator[Finding]:
    """Yield a finding if the accuracy of a trained teacher is hardly above chance level.

    Args:
        class_agreement: See :class:`~mmickd.diagnostics.bank_report.BankReport`.
        present: Number of classes with rows.
    """
    if is_near_chance(class_agreement, present):
        yield Finding(
            "teacher_near_chance",
            "warning",
            f"the teacher is hardly better than chance: its argmax is the label of "
            f"{class_agreement:.1%} of a class's rows, chance is {1 / present:.1%}. Check that its "
            "weights are trained, that its classes are numbered as in the data set "
            "(reduce_zero_label), and that its images are normalised as in its training (mean, "
            "std, order of channels).",
        )


def neighbour_findings(knn_accuracy: float | None, present: int) -> Iterator[Finding]:
    """Yield a finding if the accuracy of neighbour predictions is hardly above chance level.

    Args:
        knn_accuracy: See :class:`~mmickd.diagnostics.bank_report.BankReport`.
        present: Number of classes with rows.
    """
    if knn_accuracy is not None and is_near_chance(knn_accuracy, present):
        yield Finding(
            "neighbours_near_chance",
            "warning",
            f"the nearest rows predict the class of {knn_accuracy:.1%} of the rows, chance is "
            f"{1 / present:.1%}: the teacher's features do not separate the classes. Check that "
            "its weights are trained and its images normalised as in its training.",
        )


def size_findings(sizes: Tensor, requests: Sequence[RowRequest]) -> Iterator[Finding]:
    """Yield a finding for each term that requests more rows than a bank has.

    Args:
        sizes: ``(C,)`` int64, the bank's rows of each class; at least one is above 0.
        requests: Rows that the terms retrieve.
    """
    median, rows = int(sizes[sizes > 0].median()), int(sizes.sum())
    remedy = "the remaining places stay empty. Set it lower, or bank.capacity_per_class higher."
    for request in requests:
        if request.num_positives > median:
            yield Finding(
                "few_positives",
                "warning",
                f"{request.term}.num_positives={request.num_positives} is more than most classes "
                f"have rows (median {median}): {remedy}",
            )
        if request.num_negatives > rows:
            yield Finding(
                "few_negatives",
                "warning",
                f"{request.term}.num_negatives={request.num_negatives} is more than the bank has "
                f"rows ({rows}): {remedy}",
            )


def completeness_findings(complete: float | None) -> Iterator[Finding]:
    """Yield a finding if many rows of a bank do not find all positives.

    Args:
        complete: Share of rows that find all positives; None if no fixed number is requested.
    """
    if complete is not None and complete < MIN_COMPLETE:
        yield Finding(
            "incomplete_positives",
            "warning",
            f"only {complete:.1%} of the rows find all positives (rows of their own image do not "
            "count): set num_positives lower, or bank.capacity_per_class or bank.max_images "
            "higher.",
        )


def label_issue_findings(share: float | None) -> Iterator[Finding]:
    """Yield a finding if many labels are label issues.

    Args:
        share: See :func:`~mmickd.diagnostics.label_issues.share_of_label_issues`.
    """
    if share is not None and share >= LABEL_ISSUES:
        yield Finding(
            "label_issues",
            "warning",
            f"about {share:.0%} of the labels look wrong: the nearest rows and the teacher's "
            "predictions for them have another class. Run `mmickd gallery` and review "
            "label_issues.csv.",
        )
