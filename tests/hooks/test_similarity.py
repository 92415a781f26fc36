"""Rows of other classes that are nearer than those of the own, for long."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmickd.hooks import similarity
from mmickd.hooks.similarity import PATIENCE, SimilarityWatch
from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from tests.helpers import toys
from tests.helpers.logs import Heard
from tests.helpers.tiny import run

INTERVAL = 100
PAIR = ("picd_sim", "nicd_sim")


class Log:
    """A log that is looked at every ``INTERVAL`` iterations."""

    def __init__(self, past: int = 0) -> None:
        self.scalars = {
            f"train/{name}": HistoryBuffer([v] * past, [1] * past)
            for name, v in zip(PAIR, (0.1, 0.9), strict=True)
        }
        self.watch = SimilarityWatch([PAIR])

    def run(self, iterations: int, own: Iterable[float], others: float) -> None:
        values = list(own)
        for i in range(iterations):
            self.scalars["train/picd_sim"].update(values[i % len(values)])
            self.scalars["train/nicd_sim"].update(others)
            if (i + 1) % INTERVAL == 0:
                self.watch.look(self.scalars)


def test_it_warns_once(heard: Heard) -> None:
    log = Log()
    log.run(PATIENCE, [0.1, 0.4], 0.5)  # the first interval is where the look begins
    assert heard.warnings() == []
    log.run(5 * PATIENCE, [0.1, 0.4], 0.5)
    (said,) = heard.warnings()
    assert said.startswith("picd_sim (0.250) has been below nicd_sim (0.500) for 1000 iterations")


@pytest.mark.parametrize("own", [[0.6], [0.1, 1.1]], ids=["above", "above on average"])
def test_what_is_usual_is_not_warned_of(heard: Heard, own: list[float]) -> None:
    Log().run(5 * PATIENCE, own, 0.5)
    assert heard.warnings() == []


def test_one_good_interval_begins_it_anew(heard: Heard) -> None:
    log = Log()
    for _ in range(9):
        log.run(PATIENCE - INTERVAL, [0.1], 0.5)
        log.run(INTERVAL, [0.6], 0.5)
    assert heard.warnings() == []


def test_what_a_resumed_run_has_in_its_log_does_not_count(heard: Heard) -> None:
    log = Log(past=5 * PATIENCE)
    log.run(PATIENCE, [0.6], 0.5)
    assert heard.warnings() == []


def test_a_term_without_weight_says_nothing(heard: Heard) -> None:
    log = Log()
    log.run(2 * INTERVAL, [0.1], 0.5)
    for _ in range(100):
        log.watch.look(log.scalars)
    SimilarityWatch([PAIR]).look({})
    assert heard.warnings() == []
    assert heard.records(logging.INFO) == []


@LOSSES.register_module()
class FindsOthersNearer(BaseLoss):
    """As with a teacher to which the classes look all alike."""

    num_positives = num_negatives = 1

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_logits.square().sum(1)

    def diagnostics(self, queries: Queries) -> dict[str, Tensor]:
        return {"sim": torch.tensor(0.2), "neg_sim": torch.tensor(0.7)}


def test_a_run_looks_at_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "PATIENCE", 2)
    losses = dict(kd=None, picd=None, nicd=None, odd=dict(type="FindsOthersNearer"))
    log = toys.log_of(run(toys.classifier().distilled(losses=losses)))
    assert log.count("odd_sim (0.200) has been below odd_neg_sim (0.700) for 2 iterations") == 1
