"""Trial steps, with losses whose gradients are known."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from mmickd.commands.checking.trial_steps import STEPS, StepReport, run_trial_steps
from mmickd.commands.open_run import open_run
from mmickd.losses import BaseLoss
from mmickd.structures import Queries
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.cpu_amp import CpuAmpOptimWrapper


class Sum(BaseLoss):
    """Sum of the logits; its gradient is 1."""

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_logits.sum(dim=1)


class Features(BaseLoss):
    """Loss that does not depend on the logits."""

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_features.square().sum(dim=1)


class Root(BaseLoss):
    """Loss that is NaN."""

    def forward(self, queries: Queries) -> Tensor:
        return queries.student_logits.sum(dim=1) * float("nan")


class Faint(BaseLoss):
    """Loss whose gradient is a thousandth of the smallest number of half precision."""

    def forward(self, queries: Queries) -> Tensor:
        return 6e-11 * queries.student_logits.sum(dim=1)


class Huge(BaseLoss):
    """Loss whose gradient overflows in half precision as soon as it is scaled."""

    def forward(self, queries: Queries) -> Tensor:
        return 1e5 * queries.student_logits.sum(dim=1)


OFF = {"kd": None, "picd": None, "nicd": None}


def steps(losses: dict, amp: dict | None = None, **options) -> StepReport:
    cfg = toys.classifier().distilled(losses={**OFF, **losses}, **options)
    cfg.log_level = "ERROR"
    if amp is not None:
        cfg.optim_wrapper = {**cfg.optim_wrapper, "type": CpuAmpOptimWrapper, **amp}
    with open_run(cfg) as run:
        before = {name: value.clone() for name, value in run.student.named_parameters()}
        report = run_trial_steps(run)
        assert all(torch.equal(value, before[n]) for n, value in run.student.named_parameters())
    return report


def test_gradients_are_those_at_the_logits() -> None:
    late = dict(value=5.0, begin=1000)
    losses = {
        "once": dict(type=Sum, loss_weight=1.0),
        "late": dict(type=Sum, loss_weight=late),
        "off": dict(type=Sum, loss_weight=0.0),
        "deep": dict(type=Features),
    }
    report = steps(losses)
    images, classes = report.student[1]
    once, deep = report.terms["once"], report.terms["deep"]
    assert once.gradient == pytest.approx((images * classes) ** 0.5 / images)
    assert report.terms["late"].gradient == pytest.approx(5 * once.gradient)
    assert report.terms["late"].value == pytest.approx(5 * once.value)
    assert (report.terms["late"].weight, report.terms["off"].weight) == (5, 0)
    assert (report.terms["off"].value, report.terms["off"].gradient) == (0, None)
    assert deep.value > 0 and deep.gradient is None
    assert len(report.labels) == len(report.predictions) == STEPS * images


@pytest.mark.parametrize("cast_dtype", ["float16", "bfloat16"])
def test_gradients_of_mixed_precision_are_taken_with_the_loss_scale(cast_dtype: str) -> None:
    losses = {"faint": dict(type=Faint), "once": dict(type=Sum), "huge": dict(type=Huge)}
    report = steps(losses, dict(init_scale=2.0**30, cast_dtype=cast_dtype))
    images, classes = report.student[1]
    each = (images * classes) ** 0.5 / images
    gradients = {name: term.gradient for name, term in report.terms.items()}
    expected = {"faint": 6e-11 * each, "once": each, "huge": 1e5 * each}
    assert gradients == pytest.approx(expected, rel=0.01, abs=0)


def test_a_loss_scale_that_is_too_small_loses_the_gradient_as_it_does_in_training() -> None:
    report = steps({"faint": dict(type=Faint)}, dict(init_scale=1.0, cast_dtype="float16"))
    assert report.terms["faint"].gradient == 0


def test_the_task_has_its_weight() -> None:
    whole = steps({"once": dict(type=Sum)}).task
    half = steps({"once": dict(type=Sum), "task": dict(loss_weight=0.5)}).task
    assert (half.value, half.gradient) == pytest.approx((whole.value / 2, whole.gradient / 2))
    assert (whole.weight, half.weight) == (1, 0.5)


class Once:
    """Loader of ``count`` batches that can be read once."""

    def __init__(self, loader: Any, count: int) -> None:
        self.loader, self.batches = loader, itertools.islice(loader, count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return self.batches


@pytest.mark.parametrize("count", [0, 1, STEPS])
def test_a_loader_that_ends_does_not_hang(count: int) -> None:
    cfg = toys.classifier().distilled(losses={**OFF, "once": dict(type=Sum)})
    with open_run(cfg) as run:
        run.runner.train_loop.dataloader = Once(run.runner.train_dataloader, count)
        if count:
            report = run_trial_steps(run)
            assert len(report.labels) == count * report.student[1][0]
        else:
            with pytest.raises(ICKDError, match=r"no batch.*drop_last"):
                run_trial_steps(run)


def test_each_part_has_its_time() -> None:
    retrieving = steps({"nicd": {}}, bank={"cache_dir": None}).seconds
    assert all(seconds > 0 for seconds in retrieving.values())
    assert steps({"once": dict(type=Sum)}).seconds["retrieval"] == 0


def test_a_loss_that_is_not_finite_stops_the_check() -> None:
    with pytest.raises(ICKDError, match="loss_root"):
        steps({"root": dict(type=Root)})
