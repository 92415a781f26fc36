"""Findings about a bank, and the line that describes it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmickd.banks import MemoryBank
from mmickd.diagnostics.bank_findings import (
    RowRequest,
    completeness_findings,
    label_issue_findings,
    neighbour_findings,
    size_findings,
    teacher_findings,
)
from mmickd.diagnostics.bank_report import BankReport, report_of
from mmickd.structures import Samples


def bank(
    labels: torch.Tensor, classes: int, right: float = 1.0, shift: int = 0, seed: int = 0
) -> MemoryBank:
    """Rows of a teacher that is right on a share of them, with its classes shifted."""
    g = torch.Generator().manual_seed(seed)
    is_right = torch.rand(len(labels), generator=g) < right
    guess = torch.randint(0, classes, labels.shape, generator=g)
    predictions = torch.where(is_right, (labels + shift) % classes, guess)
    logits = F.one_hot(predictions, classes).float() * 5
    features = F.normalize(F.one_hot(labels, classes) + 0.1, dim=1)
    return MemoryBank(Samples(features.half(), logits, labels, torch.arange(len(labels))), classes)


def balanced(classes: int, rows: int) -> torch.Tensor:
    return torch.arange(classes).repeat(rows)


def skewed(*rows: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))


def report(of: MemoryBank) -> BankReport:
    return report_of(of, num_positives=3, exclude_same_id=True)


def teacher_codes(of: MemoryBank) -> list[str]:
    figures = report(of)
    findings = teacher_findings(figures.class_agreement, figures.present)
    return [finding.code for finding in findings]


def test_the_line_of_a_bank_has_its_figures() -> None:
    line = str(report(bank(balanced(4, 10), 5)))
    for figure in ("median 10", "least 10", "1 of 5 classes without", "of 40 rows"):
        assert figure in line
    assert line.count("100.0%") == 4


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
def test_a_teacher_near_chance(
    labels: torch.Tensor, classes: int, right: float, shift: int
) -> None:
    assert teacher_codes(bank(labels, classes, right, shift)) == ["teacher_near_chance"]


def test_a_teacher_that_predicts_the_largest_class_only_is_near_chance() -> None:
    labels = skewed(950, 50)
    rows = bank(labels, 2)
    logits = torch.tensor([[5.0, 0.0]]).expand(1000, 2)
    largest_only = MemoryBank(Samples(rows.features, logits, labels, rows.ids), 2)
    assert teacher_codes(largest_only) == ["teacher_near_chance"]
    figures = report(largest_only)
    assert (figures.agreement, figures.class_agreement) == (0.95, 0.5)


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
def test_a_weak_teacher_is_not_reported(labels: torch.Tensor, classes: int, right: float) -> None:
    assert teacher_codes(bank(labels, classes, right)) == []


def test_options_that_ask_for_more_rows_than_there_are() -> None:
    requests = [
        RowRequest("losses.picd", 9, 0),
        RowRequest("losses.nicd", 0, 107),
        RowRequest("losses.more", 16, 106),
    ]
    findings = list(size_findings(skewed(90, 8, 8).bincount(), requests))
    assert [(finding.code, finding.text.split(" ")[0]) for finding in findings] == [
        ("few_positives", "losses.picd.num_positives=9"),
        ("few_negatives", "losses.nicd.num_negatives=107"),
        ("few_positives", "losses.more.num_positives=16"),
    ]
    assert "median 8" in findings[0].text and "(106)" in findings[1].text


def test_no_fixed_number_of_rows_is_not_judged() -> None:
    rows = bank(balanced(3, 4), 3)
    assert not list(size_findings(rows.offsets.diff(), [RowRequest("losses.picd", 0, 0)]))
    assert report_of(rows, 0, exclude_same_id=True).complete is None
    assert not list(completeness_findings(None))


@pytest.mark.parametrize(
    ("findings", "codes"),
    [
        (neighbour_findings(0.3, 4), ["neighbours_near_chance"]),
        (neighbour_findings(0.4, 4), []),
        (neighbour_findings(None, 4), []),
        (neighbour_findings(0.0, 1), []),
        (completeness_findings(0.89), ["incomplete_positives"]),
        (completeness_findings(0.9), []),
        (label_issue_findings(0.04), ["label_issues"]),
        (label_issue_findings(0.03), []),
        (label_issue_findings(None), []),
    ],
)
def test_limits(findings, codes: list[str]) -> None:
    assert [finding.code for finding in findings] == codes
