"""NICD against loops and by hand, its gradients; see also test_every_loss."""

import pytest
import torch

from mmickd.losses import NICDLoss, nicd_loss
from mmickd.losses.base import mean_loss
from mmickd.structures import Context, Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import (
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
    rows = context.logits.tolist(), context.mask.tolist()
    expected = slow.nicd(student.tolist(), teacher.tolist(), *rows, temperature)
    result = nicd_loss(student, teacher, context, temperature)
    assert float(result) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_nicd_without_negatives_is_the_cosine_control(temperature):
    student, teacher, context = tensors(5, 4, 0)
    expected = slow.nicd_control(student.tolist(), teacher.tolist(), temperature)
    assert float(nicd_loss(student, teacher, context, temperature)) == pytest.approx(expected)


@pytest.mark.parametrize("width", [3, 0])
def test_padding_does_not_count_with_and_without_negatives(width):
    student, teacher, context = tensors(5, 4, width or 1)
    valid = torch.tensor([True, True, False, False, True])
    queries = Queries(student, teacher, valid=valid, negatives=context.best(width))
    kept = Context(*(t[valid] for t in vars(queries.negatives).values()))
    expected = nicd_loss(student[valid], teacher[valid], kept)
    assert torch.allclose(mean_loss(NICDLoss(num_negatives=width), queries), expected)


def test_rows_under_the_mask_change_nothing():
    student, teacher, context = tensors(7, 4, 5)
    changed = with_other_rows_under_the_mask(context)
    assert torch.equal(nicd_loss(student, teacher, context), nicd_loss(student, teacher, changed))


def test_golden_nicd():
    # cen(z^s) = (1, -1), q = (1, -1) / sqrt 3; u_i = (1, -1) / sqrt 2, u_n = -u_i.
    # q.u_i = sqrt(2/3) = 0.8165; T = 0.5: ln(1 + exp(-4 * 0.8165)) = 0.03744
    student = teacher = torch.tensor([[2.0, 0.0]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    context = Context(torch.ones(1, 1), torch.tensor([[[0.0, 3.0]]]), mask, mask.long())
    assert float(nicd_loss(student, teacher, context)) == pytest.approx(0.03744, abs=1e-5)
    control = nicd_loss(student, teacher, Context.empty(teacher))
    assert float(control) == pytest.approx(0.36701, abs=1e-5)  # (1 - 0.8165) / 0.5


def test_a_bank_may_have_less_precision_than_the_student():
    student, teacher, context = tensors(5, 4, 3)
    narrow = nicd_loss(student, teacher, of_dtype(context, torch.float32))
    assert torch.allclose(narrow, nicd_loss(student, teacher, context), rtol=1e-5)


def test_without_a_negative_it_is_zero_with_gradient_zero():
    student = torch.randn(4, 5, requires_grad=True)
    loss = nicd_loss(student, torch.randn(4, 5), masked_context(4, 3, 5))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


def test_only_queries_with_context_get_a_gradient():
    student, teacher, context = tensors(6, 4, 3)  # query 0 has none
    student.requires_grad_()
    nicd_loss(student, teacher, context).backward()
    assert not context.has_rows[0]
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, context.has_rows)


def test_the_gradient_is_bounded_at_zero_student_logits():
    """At 0 the map is the identity: |grad| <= max |u_n - u_i| / T = 2 / T."""
    _, teacher, context = tensors(3, 5, 4)
    for size in (0.0, 1e-12, 1e-3):
        student = torch.full((3, 5), size, dtype=torch.float64)
        student[:, 0] = 0.0
        student.requires_grad_()
        nicd_loss(student, teacher, context, 0.5).backward()
        norms = student.grad.norm(dim=1) * int(context.has_rows.sum())
        assert bool(torch.isfinite(norms).all()) and 0.1 < float(norms.max()) <= 2 / 0.5 + 1e-9


def test_equal_teacher_logits_have_the_direction_0():
    student, teacher, context = tensors(3, 4, 2)
    student.requires_grad_()
    context.logits.fill_(1.0)
    loss = nicd_loss(student, torch.full_like(teacher, 3.0), context)
    loss.backward()
    # All scores are 0: ln(n + 1) with n negatives of each query.
    counts = context.mask.sum(dim=1)
    expected = torch.log(counts[counts > 0] + 1.0).mean()
    assert float(loss.detach()) == pytest.approx(float(expected))
    assert bool(torch.isfinite(student.grad).all())
