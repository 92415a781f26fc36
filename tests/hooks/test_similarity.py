"""Negatives that are more similar to the queries than positives, for long."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmickd.hooks import similarity
from mmickd.hooks.similarity import PATIENCE, SimilarityMonitor
from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from tests.helpers import toys
from tests.helpers.logs import LogRecorder
from tests.helpers.tiny import run

INTERVAL = 100
PAIR = ("picd_sim", "nicd_sim")


class Log:
    """Log that is compared every ``INTERVAL`` iterations."""

    def __init__(self, past: int = 0) -> None:
        self.scalars = {
            f"train/{name}": HistoryBuffer([v] * past, [1] * past)
            for name, v in zip(PAIR, (0.1, 0.9), strict=True)
        }
        self.monitor = SimilarityMonitor([PAIR])

    def run(self, iterations: int, positives: Iterable[float], negatives: float) -> None:
        values = list(positives)
        for i in range(iterations):
            self.scalars["train/picd_sim"].update(values[i % len(values)])
            self.scalars["train/nicd_sim"].update(negatives)
            if (i + 1) % INTERVAL == 0:
                self.monitor.update(self.scalars)


def test_it_warns_once(log_recorder: LogRecorder) -> None:
    log = Log()
    log.run(PATIENCE, [0.1, 0.4], 0.5)  # the first interval is the baseline
    assert log_recorder.warnings() == []
    log.run(5 * PATIENCE, [0.1, 0.4], 0.5)
    (text,) = log_recorder.warnings()
    assert text.startswith("picd_sim (0.250) has been below nicd_sim (0.500) for 1000 iterations")


@pytest.mark.parametrize("positives", [[0.6], [0.1, 1.1]], ids=["above", "above on average"])
def test_more_similar_positives_are_not_reported(
    log_recorder: LogRecorder, positives: list[float]
) -> None:
    Log().run(5 * PATIENCE, positives, 0.5)
    assert log_recorder.warnings() == []


def test_one_good_interval_resets_the_count(log_recorder: LogRecorder) -> None:
    log = Log()
    for _ in range(9):
        log.run(PATIENCE - INTERVAL, [0.1], 0.5)
        log.run(INTERVAL, [0.6], 0.5)
    assert log_recorder.warnings() == []


def test_the_log_before_a_resume_does_not_count(log_recorder: LogRecorder) -> None:
    log = Log(past=5 * PATIENCE)
    log.run(PATIENCE, [0.6], 0.5)
    assert log_recorder.warnings() == []


def test_a_term_without_weight_is_not_compared(log_recorder: LogRecorder) -> None:
    log = Log()
    log.run(2 * INTERVAL, [0.1], 0.5)
    for _ in range(100):
        log.monitor.update(log.scalars)
    SimilarityMonitor([PAIR]).update({})
    assert log_recorder.warnings() == []
    assert log_recorder.records(logging.INFO) == []


@LOSSES.register_module()
class FindsOthersNearer(BaseLoss):
    """Loss that logs negatives as more similar than positives."""

    num_positives = num_negatives = 1

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_logits.square().sum(1)

    def diagnostics(self, queries: Queries) -> dict[str, Tensor]:
        return {"sim": torch.tensor(0.2), "neg_sim": torch.tensor(0.7)}


def test_a_run_compares_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "PATIENCE", 2)
    losses = dict(kd=None, picd=None, nicd=None, odd=dict(type="FindsOthersNearer"))
    log = toys.log_of(run(toys.classifier().distilled(losses=losses)))
    assert log.count("odd_sim (0.200) has been below odd_neg_sim (0.700) for 2 iterations") == 1
