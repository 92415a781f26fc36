"""DKD against loops and by hand; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import DKDLoss, dkd_loss, kd_loss
from mmickd.losses.base import mean_loss
from mmickd.structures import Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [(1.0, 8.0, 4.0), (0.5, 0.0, 1.0), (0.0, 2.0, 0.7)])
def test_dkd_equals_loop(shape, weights):
    student, teacher, _ = tensors(*shape)
    labels = torch.arange(shape[0]) % shape[1]
    labels[1:2] = -1
    expected = slow.dkd(student.tolist(), teacher.tolist(), labels.tolist(), *weights)
    assert float(dkd_loss(student, teacher, labels, *weights)) == pytest.approx(expected, rel=1e-10)


def test_golden_dkd():
    # student (1, 1, 1) / 3, teacher (1/2, 1/3, 1/6), class 0, T = 1
    teacher = torch.tensor([[3.0, 2.0, 1.0]]).log()
    tckd = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    nckd = 2 / 3 * math.log(2 / 3 / 0.5) + 1 / 3 * math.log(1 / 3 / 0.5)
    result = dkd_loss(torch.zeros(1, 3), teacher, torch.tensor([0]), 1.0, 8.0, 1.0)
    assert float(result) == pytest.approx(tckd + 8 * nckd, rel=1e-5)


def test_vanilla_kd_is_one_choice_of_the_weights():
    """beta = 1 - p_y of the teacher, query by query."""
    student, teacher, _ = tensors(1, 6, 1)
    for label in range(6):
        beta = 1 - float((teacher / 4).softmax(dim=1)[0, label])
        result = dkd_loss(student, teacher, torch.tensor([label]), 1.0, beta)
        assert float(result) == pytest.approx(float(kd_loss(student, teacher)), rel=1e-10)


def test_queries_without_a_class_and_padding_do_not_count():
    student, teacher, _ = tensors(4, 5, 1)
    labels, valid = torch.tensor([0, -1, 3, 2]), torch.tensor([True, True, False, True])
    expected = dkd_loss(student[[0, 3]], teacher[[0, 3]], labels[[0, 3]])
    result = mean_loss(DKDLoss(), Queries(student, teacher, labels=labels, valid=valid))
    assert torch.allclose(result, expected)
