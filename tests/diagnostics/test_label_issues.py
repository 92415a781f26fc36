"""Scores and decisions of label issues, and the share that ``check`` reports."""

from __future__ import annotations

import resource
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics import label_issues as module
from mmickd.diagnostics.label_issues import label_issues, share_of_label_issues
from mmickd.structures import NO_ID, Samples
from tests.helpers.label_errors import CLASSES, ROWS, random_labels, with_errors


def bank_of(
    features: Tensor, labels: Tensor, ids: Tensor | None = None, logits: Tensor | None = None
) -> MemoryBank:
    """A bank of normalised features; without logits, the teacher is sure of the labels."""
    classes = int(labels.max()) + 1
    ids = torch.arange(len(labels)) if ids is None else ids
    logits = 9.0 * F.one_hot(labels, classes) if logits is None else logits
    return MemoryBank(Samples(F.normalize(features, dim=1), logits, labels, ids), classes)


def clouds(per_class: int = 30, classes: int = 4, width: int = 16) -> tuple[Tensor, Tensor]:
    """Features around one centre for each class, and the classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        labels = torch.arange(classes).repeat_interleave(per_class)
        return 3 * torch.randn(classes, width)[labels] + torch.randn(len(labels), width), labels


def swapped(labels: Tensor, step: int) -> Tensor:
    """The labels with another class at every ``step``-th place."""
    labels = labels.clone()
    labels[::step] = (labels[::step] + 1) % 4
    return labels


def slow_label_issues(bank: MemoryBank) -> dict[int, tuple[float, int, bool]]:
    """The definition, row by row, of a bank with one row of each image."""
    results = {}
    for row in range(len(bank)):
        rows = [other for other in range(len(bank)) if bank.ids[other] != bank.ids[row]]
        rows.sort(key=lambda other: -float(bank.features[other] @ bank.features[row]))
        nearest = torch.tensor(rows[:10])
        weights = (bank.features[nearest] @ bank.features[row] / 0.1).double().softmax(0)
        by_label = weights @ F.one_hot(bank.labels[nearest], bank.num_classes).double()
        by_teacher = weights @ bank.logits[nearest].double().softmax(1)
        probability, label = (by_label + by_teacher) / 2, int(bank.labels[row])
        of_row, suggested = bank.logits[row].double().softmax(0), int(probability.argmax())
        majority = bool(by_label[suggested] > 0.5) and bool(by_teacher[suggested] > 0.5)
        results[int(bank.ids[row])] = (
            1 - float(probability[label] + of_row[label]) / 2,
            suggested,
            majority and suggested != label,
        )
    return results


@pytest.mark.parametrize("sureness", [0.5, 3.0])
def test_scores_and_decisions_are_those_of_the_definition(sureness: float) -> None:
    features, classes = clouds()
    logits = sureness * torch.randn(len(classes), 4, generator=torch.Generator().manual_seed(0))
    bank = bank_of(features, swapped(classes, 7), logits=logits + F.one_hot(classes, 4))
    issues, expected = label_issues(bank), slow_label_issues(bank)
    assert len(issues) == len(bank) and bool((issues.scores.diff() <= 0).all())
    columns = (issues.ids, issues.scores, issues.suggested, issues.is_issue)
    for image, score, suggested, is_issue in zip(*(x.tolist() for x in columns), strict=True):
        assert score == pytest.approx(expected[image][0], abs=1e-5)
        assert (suggested, is_issue) == expected[image][1:]


def test_swapped_labels_are_the_issues_and_their_true_class_is_suggested() -> None:
    features, classes = clouds()
    issues = label_issues(bank_of(features, swapped(classes, 10)))
    assert set(issues.ids[issues.is_issue].tolist()) == set(range(0, len(classes), 10))
    assert bool(issues.is_issue[:12].all()), "they have the highest scores"
    assert torch.equal(issues.suggested, classes[issues.ids])


def test_an_unsure_teacher_names_no_issue_but_the_order_stays() -> None:
    features, classes = clouds()
    bank = bank_of(features, swapped(classes, 10), logits=torch.zeros(len(classes), 4))
    issues = label_issues(bank)
    assert not issues.is_issue.any()
    assert set(issues.ids[:12].tolist()) == set(range(0, len(classes), 10))


def test_rows_of_the_same_image_are_no_neighbours() -> None:
    # each image is two rows that are alike, and labelled wrongly as the one other image is not
    features = torch.eye(4)[[0, 0, 0, 0, 1, 1]]
    labels, ids = torch.tensor([1, 1, 0, 0, 1, 1]), torch.tensor([7, 7, 8, 9, 10, 11])
    issues = label_issues(bank_of(features, labels, ids))
    assert (issues.ids[0], issues.labels[0], issues.suggested[0]) == (7, 1, 0)
    assert float(issues.scores[0]) == pytest.approx(0.5, abs=0.01) and bool(issues.is_issue[0])


def test_rows_of_one_class_of_one_image_count_as_one() -> None:
    features, labels = clouds(per_class=20, classes=2)
    ids = torch.arange(40)
    ids[:3] = 0  # three pixels of an image, one of which looks like the other class
    features[2] = features[30]
    issues = label_issues(bank_of(features, labels, ids))
    assert len(issues) == 38
    (place,) = ((issues.ids == 0) & (issues.labels == 0)).nonzero()[0].tolist()
    assert float(issues.scores[place]) == pytest.approx(1 / 6, abs=0.05)
    assert int(issues.suggested[place]) == 0 and not issues.is_issue[place], "most of its pixels"


def test_rows_of_unknown_images_are_left_out_and_a_lone_image_has_no_issue() -> None:
    labels = torch.tensor([0, 0, 1])
    issues = label_issues(bank_of(torch.eye(3), labels, torch.tensor([5, 5, 5])))
    assert issues.scores.tolist() == [0, 0] and torch.equal(issues.suggested, issues.labels)
    assert len(label_issues(bank_of(torch.eye(3), labels, torch.full((3,), NO_ID)))) == 0


@pytest.mark.parametrize("pixels", [1, 3])
def test_the_only_image_of_its_class_has_no_issue(pixels: int) -> None:
    features, labels = clouds(per_class=12, classes=2)
    features = torch.cat([features, features[:1].repeat(pixels, 1)])
    labels = torch.cat([labels, torch.full((pixels,), 2)])
    ids = torch.arange(24 + pixels).clamp(max=24)
    issues = label_issues(bank_of(features, labels, ids))
    (place,) = (issues.labels == 2).nonzero()[:, 0].tolist()
    assert (issues.suggested[place], issues.scores[place]) == (2, 0)


def test_a_row_without_a_possible_neighbour_of_its_class_has_no_issue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = clouds(per_class=40, classes=2)
    features = torch.cat([features, features[:2]])
    labels = torch.cat([labels, labels.new_tensor([2, 2])])
    monkeypatch.setattr(module, "MAX_CANDIDATES", 41)  # every second row, and the first of the two
    issues = label_issues(bank_of(features, labels))
    rare = issues.labels == 2
    assert sorted(issues.scores[rare].tolist()) == pytest.approx([0, 0.5], abs=0.1)
    assert issues.suggested[rare & (issues.scores == 0)].tolist() == [2]


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of(*clouds())
    whole = label_issues(bank)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 7 * len(bank))
    assert torch.allclose(label_issues(bank).scores, whole.scores, atol=1e-6)


def test_a_large_bank_is_compared_with_evenly_spaced_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    features, classes = clouds(per_class=100)
    monkeypatch.setattr(module, "MAX_CANDIDATES", 100)
    issues = label_issues(bank_of(features, swapped(classes, 10)))
    assert len(issues) == 400
    assert set(issues.ids[:40].tolist()) == set(range(0, 400, 10))


@pytest.mark.slow
def test_a_large_bank_takes_seconds_and_bounded_memory() -> None:
    features, labels = torch.randn(2**16, 256).half(), torch.arange(100).repeat(656)[: 2**16]
    bank = bank_of(features, labels.sort().values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    label_issues(bank)
    assert time.monotonic() - begin < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 * 1024


def predicted_bank(
    labels: Tensor, predicted: Tensor, sureness: Tensor, clusters: Tensor
) -> MemoryBank:
    """Bank of features around one centre per cluster, and logits that predict ``predicted``."""
    noise = 0.1 * torch.randn(len(labels), CLASSES, generator=random_labels(9)[0])
    features = F.normalize(F.one_hot(clusters, CLASSES) + noise, dim=1)
    logits = sureness[:, None] * F.one_hot(predicted, CLASSES)
    return MemoryBank(Samples(features, logits, labels, torch.arange(len(labels))), CLASSES)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_the_share_is_that_of_the_label_errors(share: float) -> None:
    random, classes = random_labels()
    labels = with_errors(classes, share, random)
    bank = predicted_bank(labels, classes, torch.full((ROWS,), 9.0), classes)
    result = share_of_label_issues(bank, exclude_same_id=True)
    assert result == pytest.approx(float((labels != classes).double().mean()), rel=0.2)


def test_the_only_row_of_its_class_is_not_counted() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, 4])
    predicted = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 1])  # the last three are in other classes
    bank = predicted_bank(labels, predicted, torch.full((9,), 9.0), predicted)
    assert share_of_label_issues(bank, exclude_same_id=True) == 0
    alone = predicted_bank(labels[5:], *[torch.ones(4).long()] * 3)
    assert share_of_label_issues(alone, exclude_same_id=True) is None


def test_errors_of_the_teacher_are_no_label_issues() -> None:
    random, labels = random_labels()
    predicted = with_errors(labels, 0.2, random)
    # features are clustered by the predictions, and the teacher is less sure of the wrong ones
    sureness = torch.where(predicted == labels, 9.0, 1.0)
    sureness[(predicted != labels).nonzero()[::3]] = 9.0
    bank = predicted_bank(labels, predicted, sureness, predicted)
    assert share_of_label_issues(bank, exclude_same_id=True) is None


def test_a_teacher_that_contradicts_its_features_has_no_label_issues() -> None:
    _, labels = random_labels()
    bank = predicted_bank(labels, (labels + 1) % CLASSES, torch.full((ROWS,), 9.0), labels)
    assert not share_of_label_issues(bank, exclude_same_id=True)
