"""Gradients: right, bounded, and zero where a term has nothing to say."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mmickd.losses import kd_loss, nicd_loss, picd_loss
from mmickd.losses.base import reduce_loss
from mmickd.structures import Context
from tests.losses.test_values import tensors


def masked_context(q, k, c, dtype=torch.float32):
    return Context(
        similarity=torch.zeros(q, k, dtype=dtype),
        logits=torch.zeros(q, k, c, dtype=dtype),
        mask=torch.zeros(q, k, dtype=torch.bool),
        indices=torch.full((q, k), -1),
    )


@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 6, 2)])
def test_gradcheck(shape):
    student, teacher, context = tensors(*shape)
    student.requires_grad_()
    valid = torch.arange(shape[0]) != 1
    assert gradcheck(lambda s: kd_loss(s, teacher), student)
    assert gradcheck(lambda s: kd_loss(s, teacher, 1.0, valid), student)
    for divergence in ("reverse", "balanced"):
        assert gradcheck(lambda s, d=divergence: kd_loss(s, teacher, divergence=d), student)
    assert gradcheck(lambda s: picd_loss(s, context), student)
    assert gradcheck(lambda s: nicd_loss(s, teacher, context), student)
    assert gradcheck(lambda s: nicd_loss(s, teacher, context, valid=valid), student)
    assert gradcheck(
        lambda s: nicd_loss(s, teacher, masked_context(shape[0], 0, shape[1])), student
    )


def test_only_the_student_gets_a_gradient():
    student, teacher, context = tensors(4, 3, 2)
    for tensor in (student, teacher, context.similarity, context.logits):
        tensor.requires_grad_()
    loss = kd_loss(student, teacher) + picd_loss(student, context)
    (grad,) = torch.autograd.grad(loss, student, retain_graph=True)
    assert grad.abs().sum() > 0
    others = torch.autograd.grad(
        loss, (teacher, context.similarity, context.logits), allow_unused=True
    )
    assert all(g is None for g in others)
    (unused,) = torch.autograd.grad(
        nicd_loss(student, teacher, context), teacher, allow_unused=True
    )
    assert unused is None


@pytest.mark.parametrize("width", [0, 3])
def test_picd_without_a_positive_is_zero_with_zero_gradient(width):
    student = torch.randn(4, 5, requires_grad=True)
    loss = picd_loss(student, masked_context(4, width, 5))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


def test_nicd_without_a_negative_is_zero_with_zero_gradient():
    student = torch.randn(4, 5, requires_grad=True)
    loss = nicd_loss(student, torch.randn(4, 5), masked_context(4, 3, 5))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


@pytest.mark.parametrize("width", [0, 2])
def test_nicd_with_no_valid_query_is_zero_with_zero_gradient(width):
    student, teacher, context = tensors(4, 5, width) if width else (*tensors(4, 5, 1)[:2], None)
    context = context or masked_context(4, 0, 5, torch.float64)
    student.requires_grad_()
    nothing = torch.zeros(4, dtype=torch.bool)
    loss = nicd_loss(student, teacher, context, valid=nothing)
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros_like(student))


def test_kd_without_a_valid_query_is_zero_with_zero_gradient():
    student = torch.randn(4, 5, requires_grad=True)
    loss = kd_loss(student, torch.randn(4, 5), valid=torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


def test_empty_batch_is_zero():
    student = torch.zeros(0, 5, requires_grad=True)
    empty = masked_context(0, 3, 5)
    for loss in (
        kd_loss(student, student.detach()),
        picd_loss(student, empty),
        nicd_loss(student, student.detach(), empty),
    ):
        assert float(loss.detach()) == 0.0
        loss.backward()


def test_only_queries_with_context_get_a_gradient():
    student, teacher, context = tensors(6, 4, 3)  # query 0 has none
    student.requires_grad_()
    (picd_loss(student, context) + nicd_loss(student, teacher, context)).backward()
    used = context.mask.any(dim=1)
    assert not bool(used[0])
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, used)


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_extreme_logits_stay_finite(scale):
    student, teacher, context = tensors(6, 5, 4, dtype=torch.float32, scale=scale)
    student.requires_grad_()
    losses = [
        kd_loss(student, teacher, 1.0),
        picd_loss(student, context, 1.0, 0.01),
        nicd_loss(student, teacher, context, 0.05),
    ]
    for loss in losses:
        assert math.isfinite(float(loss.detach()))
    sum(losses).backward()
    assert bool(torch.isfinite(student.grad).all())


def test_nicd_gradient_is_bounded_at_zero_student_logits():
    """At 0 the map is the identity: |grad| <= max |u_n - u_i| / T = 2 / T."""
    _, teacher, context = tensors(3, 5, 4)
    for size in (0.0, 1e-12, 1e-3):
        student = torch.full((3, 5), size, dtype=torch.float64)
        student[:, 0] = 0.0
        student.requires_grad_()
        nicd_loss(student, teacher, context, 0.5).backward()
        norms = student.grad.norm(dim=1) * int(context.mask.any(1).sum())
        assert bool(torch.isfinite(norms).all()) and float(norms.max()) <= 2 / 0.5 + 1e-9
        assert float(norms.max()) > 0.1  # and it does not vanish either


def test_nicd_with_equal_teacher_logits_is_finite():
    """A direction that does not exist (all logits equal) is 0, not NaN."""
    student, teacher, context = tensors(3, 4, 2)
    student.requires_grad_()
    flat = Context(
        context.similarity, torch.ones_like(context.logits), context.mask, context.indices
    )
    loss = nicd_loss(student, torch.full_like(teacher, 3.0), flat)
    loss.backward()
    # ln(n + 1) with n = negatives of each query, as all scores are 0.
    counts = context.mask.sum(dim=1)
    want = torch.log(counts[counts > 0] + 1.0).mean()
    assert float(loss.detach()) == pytest.approx(float(want))
    assert bool(torch.isfinite(student.grad).all())


def test_kd_of_equal_logits_is_a_minimum():
    student, _, _ = tensors(4, 5, 1)
    student.requires_grad_()
    loss = kd_loss(student, student.detach().clone())
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert student.grad.abs().max() < 1e-15


def test_kd_ignores_a_constant_added_to_all_logits():
    student, teacher, _ = tensors(4, 5, 1)
    assert torch.allclose(kd_loss(student + 5, teacher - 3), kd_loss(student, teacher))


def test_a_mean_drops_nan_rows():
    values = torch.tensor([1.0, torch.nan, 3.0], requires_grad=True)
    mean = reduce_loss(values, torch.tensor([True, False, True]))
    mean.backward()
    assert float(mean.detach()) == 2.0 and values.grad.tolist() == [0.5, 0.0, 0.5]
    with pytest.raises(ValueError, match="'mean' or 'none', got 'sum'"):
        reduce_loss(values, values > 0, "sum")
