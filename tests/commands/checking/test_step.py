"""Steps that are taken to look at: each value and gradient against what is known of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmickd.commands.checking.step import STEPS, StepFound, look_at_steps
from mmickd.commands.prepared import prepared
from mmickd.losses import BaseLoss
from mmickd.structures import Queries
from mmickd.utils.errors import ICKDError
from tests.helpers import toys


class Sum(BaseLoss):
    """Of the logits: its gradient is known."""

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_logits.sum(dim=1)


class Features(BaseLoss):
    """It does not reach the logits."""

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_features.square().sum(dim=1)


class Root(BaseLoss):
    """Not finite."""

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_logits.sum(dim=1) * float("nan")


OFF = {"kd": None, "picd": None, "nicd": None}


def steps(losses: dict, **options) -> StepFound:
    cfg = toys.classifier().distilled(losses={**OFF, **losses}, **options)
    cfg.log_level = "ERROR"
    with prepared(cfg) as run:
        before = {name: value.clone() for name, value in run.student.named_parameters()}
        found = look_at_steps(run)
        assert all(torch.equal(value, before[n]) for n, value in run.student.named_parameters())
    return found


def test_gradients_are_those_at_the_logits() -> None:
    late = dict(value=5.0, begin=1000)
    losses = {
        "once": dict(type=Sum, loss_weight=1.0),
        "late": dict(type=Sum, loss_weight=late),
        "off": dict(type=Sum, loss_weight=0.0),
        "deep": dict(type=Features),
    }
    found = steps(losses)
    images, classes = found.student[1]
    once, deep = found.terms["once"], found.terms["deep"]
    assert once.gradient == pytest.approx((images * classes) ** 0.5 / images)
    assert found.terms["late"].gradient == pytest.approx(5 * once.gradient)
    assert found.terms["late"].value == pytest.approx(5 * once.value)
    assert (found.terms["late"].weight, found.terms["off"].weight) == (5, 0)
    assert (found.terms["off"].value, found.terms["off"].gradient) == (0, None)
    assert deep.value > 0 and deep.gradient is None
    assert len(found.labels) == len(found.said) == STEPS * images


def test_the_task_has_its_weight() -> None:
    whole = steps({"once": dict(type=Sum)}).task
    half = steps({"once": dict(type=Sum), "task": dict(loss_weight=0.5)}).task
    assert (half.value, half.gradient) == pytest.approx((whole.value / 2, whole.gradient / 2))
    assert (whole.weight, half.weight) == (1, 0.5)


def test_time_is_spent_where_it_is() -> None:
    retrieving = steps({"nicd": {}}, bank={"cache_dir": None}).seconds
    assert all(seconds > 0 for seconds in retrieving.values())
    assert steps({"once": dict(type=Sum)}).seconds["retrieval"] == 0


def test_what_is_not_finite_stops_as_the_run_would() -> None:
    with pytest.raises(ICKDError, match="loss_root"):
        steps({"root": dict(type=Root)})
