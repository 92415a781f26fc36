"""A look at a bank before the first step: figures for the log, and warnings."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mmengine.logging import print_log
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics.bank_report import NEIGHBOURS, BankReport, report_of
from mmickd.losses.terms import LossTerms

ABOVE_CHANCE = 0.1
"""Share of the way from chance to perfect that a teacher should have gone."""


def inspect_bank(level: str, bank: MemoryBank, terms: LossTerms, exclude_same_id: bool) -> None:
    """Log what is known of a bank, and warn of what looks wrong.

    Args:
        level: of the bank.
        bank: whole, on the CPU.
        terms: that ask it.
        exclude_same_id: whether a query's own image is left out.
    """
    wanted = [term.loss.num_positives or 0 for term in terms.retrieving]
    report = report_of(bank, max(wanted, default=0), exclude_same_id)
    print_log(f"{level} level: {_line(report, bank.num_classes)}", logger="current")
    found = [*warnings_of_teacher(report.class_agreement, report.present)]
    for warning in [*found, *warnings_of_numbers(bank.offsets.diff(), terms)]:
        print_log(f"{level} level: {warning}", logger="current", level=logging.WARNING)


def _line(report: BankReport, num_classes: int) -> str:
    without = f" ({report.missing} of {num_classes} classes without)" if report.missing else ""
    named = "; no row has another one of its class that could vote for it"
    if report.knn_accuracy is not None:
        named = (
            f"; of {report.asked} rows, the {NEIGHBOURS} nearest others name the class of "
            f"{report.knn_accuracy:.1%}"
        )
    complete = "" if report.complete is None else f", {report.complete:.1%} find all positives"
    return (
        f"rows of a class: median {report.median}, least {report.smallest}{without}; the teacher's "
        f"argmax is the label of {report.agreement:.1%} of the rows (mean over classes "
        f"{report.class_agreement:.1%}){named}{complete}"
    )


def warnings_of_teacher(class_agreement: float, present: int) -> Iterator[str]:
    """What looks wrong with a trained teacher.

    Args:
        class_agreement: see :class:`~mmickd.diagnostics.bank_report.BankReport`.
        present: classes with rows.
    """
    if is_near_chance(class_agreement, present):
        yield (
            f"the teacher hardly beats chance: its argmax is the label of "
            f"{class_agreement:.1%} of a class's rows, chance is {1 / present:.1%}. Are its "
            "weights trained, its classes numbered as the data set's (reduce_zero_label), its "
            "images normalised as in its training (mean, std, order of channels)?"
        )


def is_near_chance(share: float, present: int) -> bool:
    """Whether a share of rows whose class is named is hardly more than by guessing."""
    chance = 1 / present  # of one class alone nobody can say
    return present > 1 and share < chance + ABOVE_CHANCE * (1 - chance)


def warnings_of_numbers(sizes: Tensor, terms: LossTerms) -> Iterator[str]:
    """What terms want and a bank cannot give.

    Args:
        sizes: ``(C,)`` int64, the bank's rows of each class; some have any.
        terms: that ask it.
    """
    median, rows = int(sizes[sizes > 0].median()), int(sizes.sum())
    for term in terms.retrieving:
        for option, most, few in (
            ("num_positives", median, f"most classes have rows (median {median})"),
            ("num_negatives", rows, f"the bank has rows ({rows})"),
        ):
            number = getattr(term.loss, option) or 0
            if number > most:
                yield (
                    f"{terms.where}.{term.name}.{option}={number} is more than {few}: the rest of "
                    "the places stays empty. Set it lower, or bank.capacity_per_class higher."
                )
