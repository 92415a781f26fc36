"""What is searched, from the terms of a config."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mmickd.experiments.search_space import Range, narrowed, ranges_of
from mmickd.losses import BaseLoss
from mmickd.losses.terms import LossTerms
from mmickd.registry import LOSSES
from mmickd.utils.errors import ICKDError

KEY = "custom_hooks.0.losses"
TERMS = {"kd", "picd", "nicd"}


def ranges(**losses: Any) -> dict[str, Range]:
    return {one.name: one for one in ranges_of(LossTerms.build(losses), losses, KEY)}


def test_every_term_that_counts_has_weight_rows_and_temperatures() -> None:
    found = ranges(kd=dict(loss_weight=3.0), picd=None, nicd=dict(num_negatives=10))
    assert found == {
        "kd.loss_weight": Range("kd.loss_weight", f"{KEY}.kd.loss_weight", 0.3, 30.0, 3.0),
        "kd.temperature": Range("kd.temperature", f"{KEY}.kd.temperature", 1.0, 16.0, 4.0),
        "nicd.loss_weight": Range("nicd.loss_weight", f"{KEY}.nicd.loss_weight", 0.1, 10.0, 1.0),
        "nicd.temperature": Range(
            "nicd.temperature", f"{KEY}.nicd.temperature", 0.125, 2.0, 0.5
        ),
        "nicd.num_negatives": Range(
            "nicd.num_negatives", f"{KEY}.nicd.num_negatives", 2, 40, 10, whole=True
        ),
    }  # fmt: skip


def test_what_no_factor_changes_is_left_alone() -> None:
    off = dict(kd=dict(loss_weight=0.0))
    found = ranges(**off, picd=dict(num_positives=None, sim_temperature=math.inf), nicd=None)
    assert [*found] == ["picd.loss_weight", "picd.temperature"]
    assert "nicd.num_negatives" not in ranges(nicd=dict(num_negatives=0))


def test_of_a_schedule_the_full_weight_is_searched() -> None:
    found = ranges(kd=dict(loss_weight=dict(value=2.0, warmup=10)), picd=None, nicd=None)
    assert found["kd.loss_weight"].key == f"{KEY}.kd.loss_weight.value"
    assert found["kd.loss_weight"].now == 2.0


def test_a_weight_that_the_task_is_the_rest_of_stays_below_1() -> None:
    found = ranges(kd=dict(loss_weight=0.9), task=dict(loss_weight="complement"))
    assert found["kd.loss_weight"].high == 1.0
    assert found["nicd.loss_weight"].high == 10.0


def test_a_loss_of_ones_own_is_searched_alike() -> None:
    class Pull(BaseLoss):
        def __init__(self, num_positives: int = 3, pull_temperature: float = 1.0) -> None:
            super().__init__()
            self.num_positives, self.pull_temperature = num_positives, pull_temperature

        def forward(self, queries: Any) -> Any:
            return queries.student_logits.sum(-1)

    LOSSES.register_module(module=Pull, name="TunedPull")
    try:
        found = ranges(pull=dict(type="TunedPull"), kd=None, picd=None, nicd=None)
    finally:
        LOSSES.module_dict.pop("TunedPull")
    assert [*found] == ["pull.loss_weight", "pull.num_positives", "pull.pull_temperature"]
    assert (found["pull.num_positives"].low, found["pull.num_positives"].high) == (1, 12)


def narrow(*texts: str) -> list[Range]:
    content = {"optim_wrapper": {"lr": 0.1}, "hooks": [{"n": 3}], "name": "x"}
    return narrowed([*texts], list(ranges(picd=None).values()), TERMS, content, KEY)


def test_a_range_may_be_given_by_hand() -> None:
    weight, rows, off, rate, number = narrow(
        "kd.loss_weight=1:9", "nicd.num_negatives=4:64:log", "picd.num_positives=1:8",
        "optim_wrapper.lr=0.01:1:log", "hooks.0.n=1:5",
    )  # fmt: skip
    assert weight == Range("kd.loss_weight", f"{KEY}.kd.loss_weight", 1, 9, 1.0, log=False)
    assert (rows.low, rows.high, rows.log, rows.whole) == (4, 64, True, True)
    assert off.key == f"{KEY}.picd.num_positives" and off.whole and not off.holds_now
    assert (rate.key, rate.now, rate.whole) == ("optim_wrapper.lr", 0.1, False)
    assert (number.now, number.whole) == (3, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kd.loss_weight", "NAME=LOW:HIGH"),
        ("kd.loss_weight=3", "NAME=LOW:HIGH"),
        ("kd.loss_weight=a:b", "NAME=LOW:HIGH"),
        ("kd.loss_weight=3:1", "LOW below HIGH"),
        ("kd.loss_weight=0:1:log", "above 0 for log"),
        ("kd.loss_weight=1:inf", "LOW below HIGH"),
        ("nicd.num_negatives=0.5:3", "whole numbers"),
        ("kt.loss_weight=1:3", "no number of that name. Give an option of a term .kd, nicd, picd"),
        ("name=1:3", "no number of that name"),
        ("hooks.1.n=1:3", "no number of that name"),
    ],
)
def test_a_wrong_range_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ICKDError, match=message) as caught:
        narrow(text)
    assert f"--vary {text}: " in str(caught.value)
