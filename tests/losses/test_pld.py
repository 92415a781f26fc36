"""PLD, compared with loops and with values by hand; see also test_every_loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmickd.losses import PLDLoss
from mmickd.losses.base import mean_loss
from mmickd.structures import Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors


def pld(student, teacher, labels, temperature=1.0):
    return mean_loss(PLDLoss(temperature), Queries(student, teacher, labels=labels))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_pld_equals_loop(shape, temperature):
    student, teacher, _ = tensors(*shape)
    labels = torch.arange(shape[0]) % shape[1]
    labels[1:2] = -1
    expected = slow.pld(student.tolist(), teacher.tolist(), labels.tolist(), temperature)
    result = float(pld(student, teacher, labels, temperature))
    assert result == pytest.approx(expected, rel=1e-10)


def test_golden_pld():
    # teacher (1/2, 1/3, 1/6), label 2: the order is 2, 0, 1; all classes are equal in the student
    teacher = torch.tensor([[3.0, 2.0, 1.0]]).log()
    expected = math.log(3) / 6 + math.log(2) / 2
    result = pld(torch.zeros(1, 3), teacher, torch.tensor([2]))
    assert float(result) == pytest.approx(expected)


def test_with_a_certain_teacher_it_is_cross_entropy():
    student, _, _ = tensors(4, 5, 1)
    labels = torch.tensor([0, 4, 2, 2])
    certain = 1e3 * F.one_hot(labels, 5).double()
    expected = float(F.cross_entropy(student, labels))
    assert float(pld(student, certain, labels)) == pytest.approx(expected, rel=1e-12)


def test_its_minimum_has_the_teachers_order():
    """Gradient descent finds this order, even if the teacher's first class is not the label."""
    teacher, label = torch.tensor([[1.0, 3.0, 2.0, 0.0]]), torch.tensor([0])
    student = torch.zeros(1, 4, requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(pld(student, teacher, label), student)
        student = (student - gradient).detach().requires_grad_()
    assert student.argsort(descending=True).tolist() == [[0, 1, 2, 3]]
