"""Ranges of a search, from the terms of a config."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mmickd.experiments.search_space import Range, SearchSpace
from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES
from mmickd.utils.errors import ICKDError

KEY = "custom_hooks.0.losses"


def ranges(**losses: Any) -> dict[str, Range]:
    return {r.name: r for r in SearchSpace({}, KEY, losses).ranges()}


def test_every_active_term_has_weight_rows_and_temperatures() -> None:
    result = ranges(kd=dict(loss_weight=3.0), picd=None, nicd=dict(num_negatives=10))
    assert result == {
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


def test_values_that_no_factor_changes_are_not_searched() -> None:
    off = dict(kd=dict(loss_weight=0.0))
    result = ranges(**off, picd=dict(num_positives=None, sim_temperature=math.inf), nicd=None)
    assert [*result] == ["picd.loss_weight", "picd.temperature"]
    assert "nicd.num_negatives" not in ranges(nicd=dict(num_negatives=0))


def test_of_a_schedule_the_full_weight_is_searched() -> None:
    result = ranges(kd=dict(loss_weight=dict(value=2.0, warmup=10)), picd=None, nicd=None)
    assert result["kd.loss_weight"].key == f"{KEY}.kd.loss_weight.value"
    assert result["kd.loss_weight"].now == 2.0


def test_a_weight_with_a_complement_stays_below_1() -> None:
    result = ranges(kd=dict(loss_weight=0.9), task=dict(loss_weight="complement"))
    assert result["kd.loss_weight"].high == 1.0
    assert result["nicd.loss_weight"].high == 10.0


def test_a_users_loss_is_searched_by_the_names_of_its_options() -> None:
    class UsersLoss(BaseLoss):
        def __init__(self, num_positives: int = 3, own_temperature: float = 1.0) -> None:
            super().__init__()
            self.num_positives, self.own_temperature = num_positives, own_temperature

        def forward(self, queries: Any) -> Any:
            return queries.student_logits.sum(-1)

    LOSSES.register_module(module=UsersLoss, name="UsersLoss")
    try:
        result = ranges(users=dict(type="UsersLoss"), kd=None, picd=None, nicd=None)
    finally:
        LOSSES.module_dict.pop("UsersLoss")
    assert [*result] == ["users.loss_weight", "users.num_positives", "users.own_temperature"]
    assert (result["users.num_positives"].low, result["users.num_positives"].high) == (1, 12)


def test_the_schedule_of_a_tasks_default_is_spelled_out() -> None:
    falling = {"NICDLoss": {"loss_weight": dict(value=4.0, decay="linear")}}
    options = SearchSpace({}, "losses", {}, falling).schedule_options()
    assert options == ("losses.nicd.loss_weight.value=4.0", "losses.nicd.loss_weight.decay=linear")


def vary(*texts: str) -> list[Range]:
    content = {"optim_wrapper": {"lr": 0.1}, "hooks": [{"n": 3}], "name": "x"}
    return SearchSpace(content, KEY, dict(picd=None)).ranges(texts)


def test_ranges_of_vary_replace_the_defaults() -> None:
    weight, rows, off, rate, number = vary(
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
        ("kt.loss_weight=1:3", "no number.*kd, nicd, picd"),
        ("name=1:3", "no number"),
        ("hooks.1.n=1:3", "no number"),
    ],
)
def test_the_message_of_a_wrong_range_names_it(text: str, message: str) -> None:
    with pytest.raises(ICKDError, match=message) as caught:
        vary(text)
    assert f"--vary {text}: " in str(caught.value)
