"""What holds for every loss: precision, masks, gradients, and a step in which it is a term."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from mmickd import losses
from mmickd.losses import (
    context_kd_loss,
    dist_loss,
    dkd_loss,
    kd_loss,
    label_smoothing_loss,
    membership_loss,
    pld_loss,
    relational_loss,
    wttm_loss,
)
from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import LossTerms
from mmickd.registry import LOSSES, registered
from mmickd.retrieval import TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Context, Tapped
from mmickd.tasks import SegmentationTask
from mmickd.teachers import Source
from mmickd.training.distiller import Distiller
from tests.helpers.loss_cases import HALVES, tensors
from tests.helpers.steps import (
    GivenTeacher,
    bank,
    classified,
    memory,
    pictures,
    scenes,
    segmented,
    source,
)

LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
Pure = Callable[..., Tensor]


def contexts(count: int) -> tuple[Context, Context]:
    """Of queries that have a few rows of their own class, and some of others."""
    own, others = tensors(6, 3, 4)[2], tensors(6, 3, 4, seed=1)[2]
    others.mask[:, 0] = True
    return tuple(Context(*(t[:count] for t in vars(one).values())) for one in (own, others))  # type: ignore[return-value]


PURE: dict[str, Pure] = {
    "KD": kd_loss,
    "KD standardized": lambda s, t, **given: kd_loss(s, t, standardize=True, **given),
    "DKD": lambda s, t, **given: dkd_loss(s, t, LABELS[: len(s)], **given),
    "DIST": dist_loss,
    "PLD": lambda s, t, **given: pld_loss(s, t, LABELS[: len(s)], **given),
    "WTTM": wttm_loss,
    "context KD": lambda s, t, **given: context_kd_loss(
        s, t, contexts(len(s))[0], mix=0.6, **given
    ),
    "relational": lambda s, t, **given: relational_loss(s, t, *contexts(len(s)), **given),
    "membership": lambda s, t, **given: membership_loss(s, t, *contexts(len(s)), **given),
    "label smoothing": lambda s, t, **given: label_smoothing_loss(s, **given),
}
"""Of student's and teacher's logits, ``valid`` and ``reduction``."""


def case(dtype: torch.dtype = torch.float64, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    student, teacher, _ = tensors(6, 3, 1, dtype=dtype, scale=scale)
    return student, teacher


@pytest.fixture(params=PURE)
def pure(request: pytest.FixtureRequest) -> Pure:
    return PURE[request.param]


def test_gradcheck(pure: Pure) -> None:
    student, teacher = case()
    valid = torch.arange(6) % 3 != 1
    student.requires_grad_()
    assert gradcheck(lambda s: pure(s, teacher), student)
    assert gradcheck(lambda s: pure(s, teacher, valid=valid), student)


def test_the_mean_is_that_of_the_numbers_per_query(pure: Pure) -> None:
    student, teacher = case()
    values, valid = pure(student, teacher, reduction="none"), torch.arange(6) > 2
    assert values.shape == (6,)
    assert float(pure(student, teacher)) == pytest.approx(float(values.mean()))
    values = pure(student, teacher, valid=valid, reduction="none")
    assert float(pure(student, teacher, valid=valid)) == pytest.approx(float(values[3:].mean()))


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(pure: Pure, half: torch.dtype) -> None:
    student, teacher = (z.to(half) for z in case(torch.float32, 3.0))
    got = pure(student, teacher)
    assert got.dtype == torch.float32
    assert torch.equal(got, pure(student.float(), teacher.float()))


@pytest.mark.parametrize("scale", [1e4, 1e-4, 0.0])
def test_extreme_and_equal_logits_stay_finite(pure: Pure, scale: float) -> None:
    student, teacher = case(torch.float32, scale)
    for taught_by in (teacher, case(torch.float32)[1]):
        student = student.detach().requires_grad_()
        loss = pure(student, taught_by)
        loss.backward()
        assert math.isfinite(float(loss.detach())) and torch.isfinite(student.grad).all()


def test_a_row_that_does_not_count_may_hold_anything(pure: Pure) -> None:
    student, teacher = case()
    valid = torch.arange(6) != 4
    want = pure(student, teacher, valid=valid)
    student[4] = torch.nan
    student.requires_grad_()
    loss = pure(student, teacher, valid=valid)
    loss.backward()
    assert torch.allclose(loss, want) and torch.isfinite(student.grad[valid]).all()


@pytest.mark.parametrize("count", [6, 0])
def test_without_a_query_that_counts_it_is_zero_with_zero_gradient(pure: Pure, count: int) -> None:
    student, teacher = (z[:count] for z in case())
    student.requires_grad_()
    loss = pure(student, teacher, valid=torch.zeros(count, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(count, 3).double())


def test_only_the_student_gets_a_gradient(pure: Pure) -> None:
    student, teacher = (z.requires_grad_() for z in case())
    loss = pure(student, teacher)
    gradient, other = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert gradient.abs().sum() > 0 and other is None


OURS = [n for n, kind in registered(LOSSES).items() if kind.__module__.startswith("mmickd.")]
MADE = [(name, {}) for name in OURS] + [
    (name, dict(dense=False))
    for name in OURS
    if "dense" in inspect.signature(registered(LOSSES)[name]).parameters
]


def terms_of(name: str, options: dict[str, Any]) -> LossTerms:
    one = dict(type=name, loss_weight=0.5, **options)
    return LossTerms.build(dict(kd=None, picd=None, nicd=None, own=one))


def check_step(
    taught_by: Source, terms: LossTerms, batch: Batch, student: Tapped, levels: Sequence[str]
) -> None:
    made = Distiller(GivenTeacher([taught_by]), terms, levels, anchors=5, seed=0)
    logged = made.step(batch, student, {}, TrainProgress(2, 10, 5))
    found = [value for key, value in logged.items() if key.startswith("loss_own")]
    assert len(found) == (1 if terms["own"].loss.is_dense else len(levels))
    (gradient,) = torch.autograd.grad(sum(found), student.logits)
    assert math.isfinite(float(sum(found).detach()))
    assert torch.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize(("name", "options"), [one for one in MADE if one[0] != "CWDLoss"])
def test_a_classifier_takes_a_step_with_it_alone(name: str, options: dict[str, Any]) -> None:
    student, teacher = classified(0, gradient=True), source(classified(1), memory())
    check_step(teacher, terms_of(name, options), pictures(), student, ["image"])


def scene_source(banks: dict[str, Any]) -> Source:
    return Source(SegmentationTask(), Memory(banks, TorchRetriever()), lambda: segmented(1))


@pytest.mark.parametrize(("name", "options"), MADE)
def test_a_segmenter_takes_a_step_with_it_alone(name: str, options: dict[str, Any]) -> None:
    said = segmented(0)
    student = Tapped(said.features, said.logits.detach().requires_grad_())
    teacher = scene_source({"pixel": bank(), "region": bank(1)})
    check_step(teacher, terms_of(name, options), scenes(), student, ["pixel", "region"])


@pytest.mark.parametrize("name", [name for name, options in MADE if options])
def test_at_the_queries_of_a_level_nothing_is_retrieved(name: str) -> None:
    """The control: the same anchors as the in-context terms, without their context."""
    terms, asked = terms_of(name, dict(dense=False)), []
    assert not terms["own"].loss.is_dense and not terms.retrieving
    terms["own"].loss.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    made = Distiller(GivenTeacher([scene_source({})]), terms, ["pixel"], anchors=5, seed=0)
    made.step(scenes(), segmented(0), {}, TrainProgress(2, 10, 5))
    (queries,) = asked
    assert queries.shape == (2, 5) and not queries.positives.mask.numel()


def test_every_loss_is_offered() -> None:
    for name in OURS:
        assert name in losses.__all__ and issubclass(getattr(losses, name), losses.BaseLoss)
