"""PLD: its values against loops and hand-made numbers; see also test_every_loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmickd.losses import PLDLoss, pld_loss
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import SHAPES, tensors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_pld_equals_loop(shape, temperature):
    student, teacher, _ = tensors(*shape)
    labels = torch.arange(shape[0]) % shape[1]
    labels[1:2] = -1
    want = slow.pld(student.tolist(), teacher.tolist(), labels.tolist(), temperature)
    found = pld_loss(student, teacher, labels, temperature)
    assert float(found) == pytest.approx(want, rel=1e-10)
    own = mean_of(PLDLoss(temperature), queries(student, teacher, labels=labels))
    assert float(own) == pytest.approx(want, rel=1e-10)


def test_golden_pld():
    # teacher (1/2, 1/3, 1/6), label 2: the order is 2, 0, 1; the student sees all alike
    teacher = torch.tensor([[3.0, 2.0, 1.0]]).log()
    want = math.log(3) / 6 + math.log(2) / 2
    assert float(pld_loss(torch.zeros(1, 3), teacher, torch.tensor([2]))) == pytest.approx(want)


def test_of_a_sure_teacher_it_is_cross_entropy():
    student, _, _ = tensors(4, 5, 1)
    labels = torch.tensor([0, 4, 2, 2])
    sure = 1e3 * F.one_hot(labels, 5).double()
    want = F.cross_entropy(student, labels)
    assert float(pld_loss(student, sure, labels)) == pytest.approx(float(want), rel=1e-12)


def test_it_pulls_towards_the_teachers_order():
    """By gradient descent, also where the teacher is wrong about the first class."""
    teacher, label = torch.tensor([[1.0, 3.0, 2.0, 0.0]]), torch.tensor([0])
    student = torch.zeros(1, 4, requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(pld_loss(student, teacher, label), student)
        student = (student - gradient).detach().requires_grad_()
    assert student.argsort(descending=True).tolist() == [[0, 1, 2, 3]]
