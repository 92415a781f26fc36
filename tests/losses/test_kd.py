"""Vanilla KD: its values against loops and hand-made numbers, its gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mmickd.losses import KDLoss, kd_loss
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import HALVES, SHAPES, tensors


def rows_of(asked):
    return asked.student_logits, asked.teacher_logits


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kd_equals_loop(shape, temperature):
    student, teacher, _ = tensors(*shape)
    want = slow.kd(student.tolist(), teacher.tolist(), temperature)
    assert float(kd_loss(student, teacher, temperature)) == pytest.approx(want, rel=1e-12)
    own = mean_of(KDLoss(temperature), queries(student, teacher))
    assert float(own) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("emphasis", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("divergence", ["forward", "reverse", "balanced"])
def test_divergences_equal_loop(shape, temperature, emphasis, divergence):
    student, teacher, _ = tensors(*shape)
    valid = torch.arange(shape[0]) % 3 != 1
    rows = student.tolist(), teacher.tolist()
    want = slow.kd(*rows, temperature, valid.tolist(), divergence, emphasis)
    loss = KDLoss(temperature, divergence, emphasis)
    asked = queries(student, teacher, valid=valid)
    assert float(mean_of(loss, asked)) == pytest.approx(want, rel=1e-12)
    given = kd_loss(*rows_of(asked), temperature, valid, divergence, emphasis)
    assert float(given) == pytest.approx(want, rel=1e-12)


def test_balanced_emphasises_by_the_gap_of_the_entropies():
    """A case by hand: one student less sure than its teacher, one surer."""
    unsure, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    forward = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    found = kd_loss(unsure, sure, 1.0, divergence="balanced", emphasis=5.0)
    assert float(found) == pytest.approx(forward + 5 * backward, rel=1e-6)
    found = kd_loss(sure, unsure, 1.0, divergence="balanced", emphasis=5.0)
    assert float(found) == pytest.approx(5 * backward + forward, rel=1e-6)


def test_kd_counts_valid_queries_only():
    student, teacher, _ = tensors(6, 4, 1)
    valid = torch.tensor([True, False, True, False, False, True])
    student[1] = torch.nan  # a row that does not count may hold anything
    want = slow.kd(student.tolist(), teacher.tolist(), 4.0, valid.tolist())
    assert float(kd_loss(student, teacher, valid=valid)) == pytest.approx(want, rel=1e-12)


def test_golden_kd():
    # p = (e^2, 1) / (e^2 + 1), q = (1/2, 1/2): KL = ln 2 - H(p) = 0.3278...
    student, teacher = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    assert float(kd_loss(student, teacher, 1.0)) == pytest.approx(0.3278, abs=1e-4)
    p = math.exp(0.5) / (math.exp(0.5) + 1)  # T = 4
    want = 16 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert float(kd_loss(student, teacher)) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(half):
    student, teacher, _ = tensors(6, 5, 4, dtype=torch.float32, scale=3.0)
    student, teacher = student.to(half), teacher.to(half)
    got = kd_loss(student, teacher)
    want = kd_loss(student.float(), teacher.float())
    assert got.dtype == torch.float32
    assert torch.equal(got, want)  # the inputs are rounded, the computation is not


@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 6, 2)])
def test_gradcheck(shape):
    student, teacher, _ = tensors(*shape)
    student.requires_grad_()
    valid = torch.arange(shape[0]) != 1
    assert gradcheck(lambda s: kd_loss(s, teacher), student)
    assert gradcheck(lambda s: kd_loss(s, teacher, 1.0, valid), student)
    for divergence in ("reverse", "balanced"):
        assert gradcheck(lambda s, d=divergence: kd_loss(s, teacher, divergence=d), student)
    assert gradcheck(lambda s: kd_loss(s, teacher, standardize=True), student)


def test_only_the_student_gets_a_gradient():
    student, teacher, _ = tensors(4, 3, 2)
    for tensor in (student, teacher):
        tensor.requires_grad_()
    loss = kd_loss(student, teacher)
    (grad,) = torch.autograd.grad(loss, student, retain_graph=True)
    assert grad.abs().sum() > 0
    others = torch.autograd.grad(loss, (teacher,), allow_unused=True)
    assert all(g is None for g in others)


def test_kd_without_a_valid_query_is_zero_with_zero_gradient():
    student = torch.randn(4, 5, requires_grad=True)
    loss = kd_loss(student, torch.randn(4, 5), valid=torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


def test_empty_batch_is_zero():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = kd_loss(student, student.detach())
    assert float(loss.detach()) == 0.0
    loss.backward()


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_extreme_logits_stay_finite(scale):
    student, teacher, _ = tensors(6, 5, 4, dtype=torch.float32, scale=scale)
    student.requires_grad_()
    loss = kd_loss(student, teacher, 1.0)
    assert math.isfinite(float(loss.detach()))
    loss.backward()
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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("divergence", ["forward", "reverse", "balanced"])
def test_standardized_kd_equals_loop(shape, divergence):
    student, teacher, _ = tensors(*shape)
    rows = [[slow.standardized(row) for row in z.tolist()] for z in (student, teacher)]
    want = slow.kd(*rows, 2.0, divergence=divergence)
    given = kd_loss(student, teacher, 2.0, divergence=divergence, standardize=True)
    assert float(given) == pytest.approx(want, rel=1e-12)
    loss = KDLoss(2.0, divergence, standardize=True)
    assert float(mean_of(loss, queries(student, teacher))) == pytest.approx(want, rel=1e-12)


def test_standardized_kd_sees_neither_size_nor_mean_of_the_logits():
    student, teacher, _ = tensors(4, 5, 1)
    want = kd_loss(student, teacher, standardize=True)
    got = kd_loss(30 * student - 2, 0.1 * teacher + 7, standardize=True)
    assert float(got) == pytest.approx(float(want), rel=1e-9)
    assert float(kd_loss(3 * teacher, teacher, standardize=True)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 3.3, -1e4])
def test_equal_logits_have_no_deviation_to_be_divided_by(value):
    """Of a classifier whose last layer begins with zeros; 3.3 minus its mean is no exact 0."""
    teacher = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    student = torch.full((3, 7), value, requires_grad=True)
    loss = kd_loss(student, teacher, 4.0, standardize=True)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert 1e-3 < float(student.grad.abs().max()) < 10  # as large as without standardisation
    assert math.isfinite(float(kd_loss(teacher, student, standardize=True)))
