"""Vanilla KD against loops and by hand; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import KDLoss, kd_loss
from mmickd.losses.base import mean_loss
from mmickd.structures import Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors


def kd(student, teacher, *options, valid=None, **named):
    return float(mean_loss(KDLoss(*options, **named), Queries(student, teacher, valid=valid)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("emphasis", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("divergence", ["forward", "reverse", "balanced"])
def test_divergences_equal_loop(shape, temperature, emphasis, divergence):
    student, teacher, _ = tensors(*shape)
    valid = torch.arange(shape[0]) % 3 != 1
    options = temperature, divergence, emphasis
    expected = slow.kd(
        student.tolist(), teacher.tolist(), temperature, valid.tolist(), *options[1:]
    )
    assert kd(student, teacher, *options, valid=valid) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_function_is_the_mean_of_the_forward_divergence(shape, temperature):
    student, teacher, _ = tensors(*shape)
    expected = slow.kd(student.tolist(), teacher.tolist(), temperature)
    assert float(kd_loss(student, teacher, temperature)) == pytest.approx(expected, rel=1e-12)


def test_balanced_emphasises_by_the_gap_of_the_entropies():
    """Two cases by hand: a student less certain than its teacher, and a more certain one."""
    even, certain = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    forward = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    expected = pytest.approx(forward + 5 * backward, rel=1e-6)
    assert kd(even, certain, 1.0, "balanced", 5.0) == expected
    assert kd(certain, even, 1.0, "balanced", 5.0) == expected


def test_golden_kd():
    # p = (e^2, 1) / (e^2 + 1), q = (1/2, 1/2): KL = ln 2 - H(p) = 0.3278...
    student, teacher = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    assert float(kd_loss(student, teacher, 1.0)) == pytest.approx(0.3278, abs=1e-4)
    p = math.exp(0.5) / (math.exp(0.5) + 1)  # T = 4
    expected = 16 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert float(kd_loss(student, teacher)) == pytest.approx(expected, abs=1e-6)


def test_kd_of_equal_logits_is_a_minimum():
    student, _, _ = tensors(4, 5, 1)
    student.requires_grad_()
    loss = kd_loss(student, student.detach().clone())
    loss.backward()
    assert float(loss.detach()) == 0.0 and student.grad.abs().max() < 1e-15


def test_kd_ignores_a_constant_added_to_all_logits():
    student, teacher, _ = tensors(4, 5, 1)
    assert torch.allclose(kd_loss(student + 5, teacher - 3), kd_loss(student, teacher))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("divergence", ["forward", "reverse", "balanced"])
def test_standardized_kd_equals_loop(shape, divergence):
    student, teacher, _ = tensors(*shape)
    rows = [[slow.standardized(row) for row in z.tolist()] for z in (student, teacher)]
    expected = slow.kd(*rows, 2.0, divergence=divergence)
    result = kd(student, teacher, 2.0, divergence, standardize=True)
    assert result == pytest.approx(expected, rel=1e-12)


def test_standardized_kd_ignores_size_and_mean_of_the_logits():
    student, teacher, _ = tensors(4, 5, 1)
    expected = kd(student, teacher, standardize=True)
    result = kd(30 * student - 2, 0.1 * teacher + 7, standardize=True)
    assert result == pytest.approx(expected, rel=1e-9)
    assert kd(3 * teacher, teacher, standardize=True) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 3.3, -1e4])
def test_equal_logits_are_not_divided_by_their_deviation(value):
    """A last layer that begins with zeros outputs them; 3.3 minus its mean is no exact 0."""
    teacher = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    student = torch.full((3, 7), value, requires_grad=True)
    loss = mean_loss(KDLoss(standardize=True), Queries(student, teacher))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert 1e-3 < float(student.grad.abs().max()) < 10  # as large as without standardisation
    assert math.isfinite(kd(teacher, student.detach(), standardize=True))
