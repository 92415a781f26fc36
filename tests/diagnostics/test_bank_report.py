"""Figures of a bank, compared with a slow loop over its rows."""

from __future__ import annotations

import math

import pytest
import torch

from mmickd.banks import MemoryBank
from mmickd.diagnostics import bank_report as module
from mmickd.diagnostics.bank_report import NEIGHBOURS, report_of, spaced
from mmickd.structures import Samples
from tests.helpers.retrieval_cases import samples

CLASSES = 4


def random_bank(seed: int, rows: int, images: int = 40, dtype: torch.dtype = torch.float16):
    g = torch.Generator().manual_seed(seed)
    random = samples(g, rows, 6, CLASSES, images, dtype=dtype)
    labels = torch.where(torch.rand(rows, generator=g) < 0.4, 0, random.labels)  # 3 is empty
    labels = labels.where(labels != 3, 2)
    return MemoryBank(Samples(random.features, random.logits, labels, random.ids), CLASSES)


def slow(bank: MemoryBank, positives: int, exclude: bool, rows: list[int]) -> dict[str, float]:
    """Return the figures, computed row by row."""
    correct: list[float] = []
    by_class: dict[int, list[float]] = {}
    predicted = num_queries = complete = 0
    for i in rows:
        label = int(bank.labels[i])
        correct.append(float(int(bank.logits[i].argmax()) == label))
        by_class.setdefault(label, []).append(correct[-1])
        same = [
            bool(bank.ids[j] == bank.ids[i] and bank.ids[i] >= 0) if exclude else i == j
            for j in range(len(bank))
        ]
        neighbours = [j for j in range(len(bank)) if j != i and not same[j]]
        candidates = sum(
            int(bank.labels[j]) == label and not (exclude and same[j]) for j in range(len(bank))
        )
        complete += candidates >= positives
        if not any(int(bank.labels[j]) == label for j in neighbours):
            continue  # no neighbour could predict its class
        num_queries += 1
        scores = {j: float(bank.features[i].float() @ bank.features[j].float()) for j in neighbours}
        weights = [0.0] * bank.num_classes
        for j in sorted(neighbours, key=lambda j: -scores[j])[:NEIGHBOURS]:
            weights[int(bank.labels[j])] += math.exp(scores[j] / 0.1)
        predicted += weights.index(max(weights)) == label
    return dict(
        agreement=sum(correct) / len(correct),
        class_agreement=sum(sum(v) / len(v) for v in by_class.values()) / len(by_class),
        knn_accuracy=predicted / num_queries,
        complete=complete / len(rows),
    )


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_equals_a_slow_loop(seed: int, exclude: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 17)
    bank = random_bank(seed, rows=60)
    positives = (12, 20)[seed % 2]
    report = report_of(bank, positives, exclude)
    sizes = sorted(int(n) for n in bank.offsets.diff() if n > 0)
    assert (report.smallest, report.present) == (sizes[0], len(sizes))
    assert report.missing == CLASSES - len(sizes) >= 1
    assert report.median == sizes[(len(sizes) - 1) // 2]
    expected = slow(bank, positives, exclude, list(range(60)))
    for name, value in expected.items():
        assert getattr(report, name) == pytest.approx(value), name
    assert 0 < expected["complete"] < 1 or seed


def test_of_a_large_bank_evenly_spaced_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUERIES", 7)
    monkeypatch.setattr(module, "MAX_CANDIDATES", 30)
    bank = random_bank(9, rows=200, images=10_000)
    candidates = [i * 200 // 30 for i in range(30)]
    part = MemoryBank(bank.samples[torch.tensor(candidates)], CLASSES)
    report = report_of(bank, 0, True)
    assert report.complete is None
    whole = slow(part, 1, True, list(range(30)))
    assert report.agreement == pytest.approx(whole["agreement"])
    assert report.class_agreement == pytest.approx(whole["class_agreement"])
    queries = slow(part, 1, True, [i * 30 // 7 for i in range(7)])
    assert report.knn_accuracy == pytest.approx(queries["knn_accuracy"])


def test_spaced_is_exact_for_huge_numbers() -> None:
    rows = spaced(10**11, 2**16)
    assert len(rows) == 2**16 and int(rows[0]) == 0 and 0 < 10**11 - int(rows[-1]) < 2 * 10**6
    assert bool((rows.diff() > 0).all())


@pytest.mark.parametrize("exclude", [True, False])
def test_a_row_without_another_row_of_its_class_is_not_counted(exclude: bool) -> None:
    features = torch.eye(3)[[0, 0, 1, 2, 2]]
    labels, ids = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 2, 3, 4, 4])
    logits = torch.eye(3)[labels]  # 1: the only picture of its class; 2: pixels of one image
    report = report_of(MemoryBank(Samples(features, logits, labels, ids), 3), 1, exclude)
    assert (report.num_queries, report.knn_accuracy) == ((2, 1.0) if exclude else (4, 1.0))
    assert report.complete == pytest.approx(2 / 5 if exclude else 1.0)


def test_a_tiny_bank_has_a_report() -> None:
    rows = Samples(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), torch.arange(2))
    report = report_of(MemoryBank(rows, 2), 16, True)
    assert (report.complete, report.smallest) == (0, 1)
    assert (report.num_queries, report.knn_accuracy) == (0, None)
