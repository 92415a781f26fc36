"""WTTM against loops and by hand; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import WTTMLoss, kd_loss
from mmickd.losses.base import mean_loss
from mmickd.structures import Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors


def wttm(student, teacher, temperature):
    return float(mean_loss(WTTMLoss(temperature), Queries(student, teacher)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 2.0, 8.0])
def test_wttm_equals_loop(shape, temperature):
    student, teacher, _ = tensors(*shape)
    expected = slow.wttm(student.tolist(), teacher.tolist(), temperature)
    assert wttm(student, teacher, temperature) == pytest.approx(expected, rel=1e-10)


def test_golden_wttm():
    # teacher (0.8, 0.2), T = 2: roots 0.8944 and 0.4472, U = 1.3416, target (2/3, 1/3)
    teacher, student = torch.tensor([[4.0, 1.0]]).log(), torch.zeros(1, 2)
    divergence = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert wttm(student, teacher, 2.0) == pytest.approx(1.34164 * divergence, rel=1e-5)


def test_without_a_transform_it_is_vanilla_kd():
    student, teacher, _ = tensors(4, 5, 1)
    expected = float(kd_loss(student, teacher, 1.0))
    assert wttm(student, teacher, 1.0) == pytest.approx(expected, rel=1e-12)


def test_it_is_zero_at_the_transformed_teacher():
    _, teacher, _ = tensors(4, 5, 1)
    assert wttm(teacher / 4, teacher, 4.0) == pytest.approx(0, abs=1e-12)
