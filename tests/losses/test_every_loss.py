"""Properties of every loss: precision, masks, gradients, and a step in which it is a term."""

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
from mmickd.losses import BaseLoss, ContextKDLoss, KDLoss, NICDLoss
from mmickd.losses.base import mean_loss
from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import LossTerms
from mmickd.registry import LOSSES, registered
from mmickd.retrieval import TorchRetriever
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Queries, Tapped
from mmickd.tasks import SegmentationTask
from mmickd.teachers import Source
from mmickd.training.distiller import Distiller
from tests.helpers.loss_cases import HALVES, contexts, of_dtype, tensors
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

NAMES = [n for n, kind in registered(LOSSES).items() if kind.__module__.startswith("mmickd.")]
CASES: dict[str, Callable[[], BaseLoss]] = {
    **{name: registered(LOSSES)[name] for name in NAMES},
    "KD reverse": lambda: KDLoss(divergence="reverse"),
    "KD balanced": lambda: KDLoss(divergence="balanced"),
    "KD standardized": lambda: KDLoss(standardize=True),
    "NICD without negatives": lambda: NICDLoss(num_negatives=0),
    "mixed context KD": lambda: ContextKDLoss(mix=0.6, temperature=4.0),
}


@pytest.fixture(params=CASES)
def loss(request: pytest.FixtureRequest) -> BaseLoss:
    return CASES[request.param]()


def logits(dtype: torch.dtype = torch.float64, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    student, teacher, _ = tensors(6, 3, 1, dtype=dtype, scale=scale)
    return student, teacher


def queries_of(
    loss: BaseLoss, student: Tensor, teacher: Tensor, valid: Tensor | None = None
) -> Queries:
    """Six queries of two images; each has a few rows of its class and of others."""
    positives, negatives = (of_dtype(rows, teacher.dtype) for rows in contexts(6, 3, 4))
    return Queries(
        student,
        teacher,
        labels=torch.tensor([0, 2, 1, 1, 0, 2]),
        valid=valid,
        positives=positives.best(loss.num_positives),
        negatives=negatives.best(loss.num_negatives),
        shape=(2, 3),
    )


def test_gradcheck(loss: BaseLoss) -> None:
    student, teacher = logits()
    student.requires_grad_()
    for valid in (None, torch.arange(6) % 3 != 1):
        assert gradcheck(
            lambda s, v=valid: mean_loss(loss, queries_of(loss, s, teacher, v)), student
        )


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(loss: BaseLoss, half: torch.dtype) -> None:
    queries = queries_of(loss, *(z.to(half) for z in logits(torch.float32, 3.0)))
    wide = Queries(
        queries.student_logits.float(),
        queries.teacher_logits.float(),
        labels=queries.labels,
        positives=of_dtype(queries.positives, torch.float32),
        negatives=of_dtype(queries.negatives, torch.float32),
        shape=queries.shape,
    )
    result = mean_loss(loss, queries)
    assert result.dtype == torch.float32
    assert torch.equal(result, mean_loss(loss, wide))  # the inputs are rounded, nothing else


@pytest.mark.parametrize("scale", [1e4, 1e-4, 0.0])
def test_extreme_and_equal_logits_stay_finite(loss: BaseLoss, scale: float) -> None:
    student, teacher = logits(torch.float32, scale)
    for teacher_logits in (teacher, logits(torch.float32)[1]):
        student = student.detach().requires_grad_()
        value = mean_loss(loss, queries_of(loss, student, teacher_logits))
        (gradient,) = torch.autograd.grad(value, student)
        assert math.isfinite(float(value.detach())) and torch.isfinite(gradient).all()


def test_a_query_that_does_not_count_may_hold_nan(loss: BaseLoss) -> None:
    student, teacher = logits()
    valid = torch.arange(6) != 4
    expected = mean_loss(loss, queries_of(loss, student, teacher, valid))
    student[4] = torch.nan
    student.requires_grad_()
    result = mean_loss(loss, queries_of(loss, student, teacher, valid))
    result.backward()
    assert torch.allclose(result, expected) and torch.isfinite(student.grad[valid]).all()


@pytest.mark.parametrize("count", [6, 0])
def test_without_a_query_that_counts_it_is_zero_with_gradient_zero(
    loss: BaseLoss, count: int
) -> None:
    student, teacher = (z[:count] for z in logits())
    student.requires_grad_()
    if count:
        queries = queries_of(loss, student, teacher, torch.zeros(6, dtype=torch.bool))
    else:
        queries = Queries(student, teacher, shape=(0, 2))
    value = mean_loss(loss, queries)
    value.backward()
    assert float(value.detach()) == 0.0 and torch.equal(student.grad, torch.zeros_like(student))


def test_only_the_student_gets_a_gradient(loss: BaseLoss) -> None:
    student, teacher = (z.requires_grad_() for z in logits())
    value = mean_loss(loss, queries_of(loss, student, teacher))
    gradient, *rest = torch.autograd.grad(value, (student, teacher), allow_unused=True)
    assert gradient.abs().sum() > 0 and rest == [None]


def terms_of(name: str, options: dict[str, Any]) -> LossTerms:
    term = dict(type=name, loss_weight=0.5, **options)
    return LossTerms.build(dict(kd=None, picd=None, nicd=None, only=term))


def check_step(
    teacher: Source, terms: LossTerms, batch: Batch, student: Tapped, levels: Sequence[str]
) -> None:
    distiller = Distiller(GivenTeacher([teacher]), terms, levels, anchors=5, seed=0)
    logged = distiller.step(batch, student, {}, TrainProgress(2, 10, 5))
    values = [value for key, value in logged.items() if key.startswith("loss_only")]
    assert len(values) == (1 if terms["only"].loss.is_dense else len(levels))
    (gradient,) = torch.autograd.grad(sum(values), student.logits)
    assert math.isfinite(float(sum(values).detach()))
    assert torch.isfinite(gradient).all() and gradient.any()


TERMS = [(name, {}) for name in NAMES] + [
    (name, dict(dense=False))
    for name in NAMES
    if "dense" in inspect.signature(registered(LOSSES)[name]).parameters
]


@pytest.mark.parametrize(("name", "options"), [term for term in TERMS if term[0] != "CWDLoss"])
def test_a_classifier_takes_a_step_with_it_alone(name: str, options: dict[str, Any]) -> None:
    student, teacher = classified(0, gradient=True), source(classified(1), memory())
    check_step(teacher, terms_of(name, options), pictures(), student, ["image"])


def scene_source(banks: dict[str, Any]) -> Source:
    return Source(SegmentationTask(), Memory(banks, TorchRetriever()), lambda: segmented(1))


@pytest.mark.parametrize(("name", "options"), TERMS)
def test_a_segmenter_takes_a_step_with_it_alone(name: str, options: dict[str, Any]) -> None:
    outputs = segmented(0)
    student = Tapped(outputs.features, outputs.logits.detach().requires_grad_())
    teacher = scene_source({"pixel": bank(), "region": bank(1)})
    check_step(teacher, terms_of(name, options), scenes(), student, ["pixel", "region"])


@pytest.mark.parametrize("name", [name for name, options in TERMS if options])
def test_at_the_queries_of_a_level_a_dense_loss_retrieves_nothing(name: str) -> None:
    """The control: the same anchors as the in-context terms, without their context."""
    terms, calls = terms_of(name, dict(dense=False)), []
    assert not terms["only"].loss.is_dense and not terms.retrieving
    terms["only"].loss.register_forward_pre_hook(lambda _, arguments: calls.append(arguments[0]))
    distiller = Distiller(GivenTeacher([scene_source({})]), terms, ["pixel"], anchors=5, seed=0)
    distiller.step(scenes(), segmented(0), {}, TrainProgress(2, 10, 5))
    (queries,) = calls
    assert queries.shape == (2, 5) and not queries.positives.mask.numel()


def test_every_loss_is_public() -> None:
    for name in NAMES:
        assert name in losses.__all__ and issubclass(getattr(losses, name), losses.BaseLoss)
