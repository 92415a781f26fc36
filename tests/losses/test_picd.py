"""PICD: its values against loops and hand-made numbers, its gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mmickd.losses import PICDLoss, picd, picd_loss
from mmickd.losses.picd import aggregate_positives
from mmickd.structures import Context
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import (
    HALVES,
    SHAPES,
    masked_context,
    of_dtype,
    tensors,
    with_other_rows_under_the_mask,
)
from tests.helpers.operations import OperationRecorder


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("tau", [0.05, 0.1, 1.0])
def test_picd_equals_loop(shape, temperature, tau):
    student, _, context = tensors(*shape)
    want = slow.picd(
        student.tolist(),
        context.similarity.tolist(),
        context.logits.tolist(),
        context.mask.tolist(),
        temperature,
        tau,
    )
    assert float(picd_loss(student, context, temperature, tau)) == pytest.approx(want, rel=1e-10)
    own = mean_of(PICDLoss(temperature, tau), queries(student, student, context))
    assert float(own) == pytest.approx(want, rel=1e-10)


def test_infinite_similarity_temperature_gives_equal_weights():
    student, _, context = tensors(6, 5, 4)
    flat = Context(
        torch.zeros_like(context.similarity), context.logits, context.mask, context.indices
    )
    want = picd_loss(student, flat, sim_temperature=0.1)
    assert torch.allclose(picd_loss(student, context, sim_temperature=math.inf), want)
    assert torch.allclose(picd_loss(student, context, sim_temperature=1e9), want)


def test_small_similarity_temperature_takes_the_nearest_alone():
    _, _, context = tensors(6, 5, 4)
    target = aggregate_positives(context, 1.0, 1e-6)
    scores = context.similarity.masked_fill(~context.mask, -math.inf)
    for i in context.mask.any(1).nonzero()[:, 0].tolist():
        nearest = context.logits[i, scores[i].argmax()].softmax(0)
        assert torch.allclose(target[i], nearest, atol=1e-9)


def test_what_lies_under_the_mask_changes_nothing():
    student, _, context = tensors(7, 4, 5)
    other = with_other_rows_under_the_mask(context)
    assert torch.equal(picd_loss(student, context), picd_loss(student, other))


def test_golden_picd():
    # Weights e^1 and e^0 over two one-hot-like rows: 0.7311, 0.2689. Student undecided.
    context = Context(
        similarity=torch.tensor([[0.1, 0.0]]),
        logits=torch.tensor([[[100.0, 0.0], [0.0, 100.0]]]),
        mask=torch.ones(1, 2, dtype=torch.bool),
        indices=torch.zeros(1, 2, dtype=torch.long),
    )
    # KL((.7311, .2689) || (.5, .5)) = ln 2 - H = 0.6931 - 0.5822
    assert float(picd_loss(torch.zeros(1, 2), context)) == pytest.approx(0.1109, abs=1e-4)


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(half):
    student, _, context = tensors(6, 5, 4, dtype=torch.float32, scale=3.0)
    student, context = student.to(half), of_dtype(context, half)
    got = picd_loss(student, context)
    want = picd_loss(student.float(), of_dtype(context, torch.float32))
    assert got.dtype == torch.float32
    assert torch.equal(got, want)  # the inputs are rounded, the computation is not


def test_mixed_precision_of_the_parts():
    """A float64 student with a float32 context (the bank's), and the other way around."""
    student, _, context = tensors(5, 4, 3)
    narrow = of_dtype(context, torch.float32)
    assert torch.allclose(picd_loss(student, narrow), picd_loss(student, context), rtol=1e-5)
    assert picd_loss(student.half(), narrow).dtype == torch.float32


@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 6, 2)])
def test_gradcheck(shape):
    student, _, context = tensors(*shape)
    student.requires_grad_()
    assert gradcheck(lambda s: picd_loss(s, context), student)


def test_only_the_student_gets_a_gradient():
    student, _, context = tensors(4, 3, 2)
    for tensor in (student, context.similarity, context.logits):
        tensor.requires_grad_()
    loss = picd_loss(student, context)
    (grad,) = torch.autograd.grad(loss, student, retain_graph=True)
    assert grad.abs().sum() > 0
    others = torch.autograd.grad(loss, (context.similarity, context.logits), allow_unused=True)
    assert all(g is None for g in others)


@pytest.mark.parametrize("width", [0, 3])
def test_picd_without_a_positive_is_zero_with_zero_gradient(width):
    student = torch.randn(4, 5, requires_grad=True)
    loss = picd_loss(student, masked_context(4, width, 5))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


def test_empty_batch_is_zero():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = picd_loss(student, masked_context(0, 3, 5))
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_only_queries_with_context_get_a_gradient():
    student, _, context = tensors(6, 4, 3)  # query 0 has none
    student.requires_grad_()
    picd_loss(student, context).backward()
    used = context.mask.any(dim=1)
    assert not bool(used[0])
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, used)


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_extreme_logits_stay_finite(scale):
    student, _, context = tensors(6, 5, 4, dtype=torch.float32, scale=scale)
    student.requires_grad_()
    loss = picd_loss(student, context, 1.0, 0.01)
    assert math.isfinite(float(loss.detach()))
    loss.backward()
    assert bool(torch.isfinite(student.grad).all())


@pytest.mark.parametrize("elements", [1, 20, 40, 41, 10**6])
def test_whole_classes_are_aggregated_in_pieces(monkeypatch, elements):
    """5 queries of 20 logits each: one, one, two, two and all of them at once."""
    _, _, context = tensors(5, 4, 5, dtype=torch.float32)
    want = aggregate_positives(context, 2.0, 0.1)
    monkeypatch.setattr(picd, "PIECE_ELEMENTS", elements)
    with OperationRecorder() as operations:
        got = aggregate_positives(context, 2.0, 0.1)
    assert torch.equal(got, want)
    assert operations.largest <= max(elements, 25)
