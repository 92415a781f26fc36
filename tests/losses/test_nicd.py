"""NICD: its values against loops and hand-made numbers, its gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mmickd.losses import NICDLoss, nicd_loss
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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nicd_equals_loop(shape, temperature):
    student, teacher, context = tensors(*shape)
    want = slow.nicd(
        student.tolist(),
        teacher.tolist(),
        context.logits.tolist(),
        context.mask.tolist(),
        temperature,
    )
    assert float(nicd_loss(student, teacher, context, temperature)) == pytest.approx(
        want, rel=1e-10
    )
    own = mean_of(NICDLoss(temperature), queries(student, teacher, negatives=context))
    assert float(own) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_nicd_without_negatives_is_the_cosine_control(temperature):
    student, teacher, context = tensors(5, 4, 0)
    want = slow.nicd_control(student.tolist(), teacher.tolist(), temperature)
    assert float(nicd_loss(student, teacher, context, temperature)) == pytest.approx(want)


def test_nicd_valid_leaves_out_queries_with_and_without_negatives():
    student, teacher, context = tensors(5, 4, 3)
    valid = torch.tensor([True, True, False, False, True])
    keep = valid.nonzero()[:, 0]
    own = Context(*(getattr(context, n)[keep] for n in ("similarity", "logits", "mask", "indices")))
    want = nicd_loss(student[keep], teacher[keep], own)
    assert torch.allclose(nicd_loss(student, teacher, context, valid=valid), want)
    asked = queries(student, teacher, negatives=context, valid=valid)
    assert torch.allclose(mean_of(NICDLoss(), asked), want)

    none = tensors(5, 4, 0)[2]
    want = slow.nicd_control(student[keep].tolist(), teacher[keep].tolist(), 0.5)
    assert float(nicd_loss(student, teacher, none, valid=valid)) == pytest.approx(want)
    control = mean_of(NICDLoss(num_negatives=0), queries(student, teacher, valid=valid))
    assert float(control) == pytest.approx(want)


def test_what_lies_under_the_mask_changes_nothing():
    student, teacher, context = tensors(7, 4, 5)
    other = with_other_rows_under_the_mask(context)
    assert torch.equal(nicd_loss(student, teacher, context), nicd_loss(student, teacher, other))


def test_golden_nicd():
    # cen(z^s) = (1, -1), q = (1, -1) / sqrt 3; u_i = (1, -1) / sqrt 2, u_n = -u_i.
    # q.u_i = sqrt(2/3) = 0.8165; T = 0.5: ln(1 + exp(-4 * 0.8165)) = 0.03744
    student = teacher = torch.tensor([[2.0, 0.0]])
    context = Context(
        similarity=torch.ones(1, 1),
        logits=torch.tensor([[[0.0, 3.0]]]),
        mask=torch.ones(1, 1, dtype=torch.bool),
        indices=torch.zeros(1, 1, dtype=torch.long),
    )
    assert float(nicd_loss(student, teacher, context)) == pytest.approx(0.03744, abs=1e-5)
    nothing = Context(*(t[:, :0] for t in vars(context).values()))
    # (1 - 0.8165) / 0.5
    assert float(nicd_loss(student, teacher, nothing)) == pytest.approx(0.36701, abs=1e-5)


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(half):
    student, teacher, context = tensors(6, 5, 4, dtype=torch.float32, scale=3.0)
    student, teacher = student.to(half), teacher.to(half)
    context = of_dtype(context, half)
    wide = of_dtype(context, torch.float32)
    got = nicd_loss(student, teacher, context)
    want = nicd_loss(student.float(), teacher.float(), wide)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)  # the inputs are rounded, the computation is not


def test_mixed_precision_of_the_parts():
    """A float64 student with a float32 context (the bank's)."""
    student, teacher, context = tensors(5, 4, 3)
    narrow = of_dtype(context, torch.float32)
    assert torch.allclose(
        nicd_loss(student, teacher, narrow), nicd_loss(student, teacher, context), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 6, 2)])
def test_gradcheck(shape):
    student, teacher, context = tensors(*shape)
    student.requires_grad_()
    valid = torch.arange(shape[0]) != 1
    assert gradcheck(lambda s: nicd_loss(s, teacher, context), student)
    assert gradcheck(lambda s: nicd_loss(s, teacher, context, valid=valid), student)
    assert gradcheck(
        lambda s: nicd_loss(s, teacher, masked_context(shape[0], 0, shape[1])), student
    )


def test_only_the_student_gets_a_gradient():
    student, teacher, context = tensors(4, 3, 2)
    for tensor in (student, teacher):
        tensor.requires_grad_()
    loss = nicd_loss(student, teacher, context)
    (grad,) = torch.autograd.grad(loss, student, retain_graph=True)
    assert grad.abs().sum() > 0
    others = torch.autograd.grad(loss, (teacher,), allow_unused=True)
    assert all(g is None for g in others)


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


def test_empty_batch_is_zero():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = nicd_loss(student, student.detach(), masked_context(0, 3, 5))
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_only_queries_with_context_get_a_gradient():
    student, teacher, context = tensors(6, 4, 3)  # query 0 has none
    student.requires_grad_()
    nicd_loss(student, teacher, context).backward()
    used = context.mask.any(dim=1)
    assert not bool(used[0])
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, used)


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_extreme_logits_stay_finite(scale):
    student, teacher, context = tensors(6, 5, 4, dtype=torch.float32, scale=scale)
    student.requires_grad_()
    loss = nicd_loss(student, teacher, context, 0.05)
    assert math.isfinite(float(loss.detach()))
    loss.backward()
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
