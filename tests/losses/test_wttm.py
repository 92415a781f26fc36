"""WTTM: its values against loops and hand-made numbers; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import WTTMLoss, kd_loss, wttm_loss
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import SHAPES, tensors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 2.0, 8.0])
def test_wttm_equals_loop(shape, temperature):
    student, teacher, _ = tensors(*shape)
    want = slow.wttm(student.tolist(), teacher.tolist(), temperature)
    found = wttm_loss(student, teacher, temperature)
    assert float(found) == pytest.approx(want, rel=1e-10)
    own = mean_of(WTTMLoss(temperature), queries(student, teacher))
    assert float(own) == pytest.approx(want, rel=1e-10)


def test_golden_wttm():
    # teacher (0.8, 0.2), T = 2: roots 0.8944 and 0.4472, U = 1.3416, target (2/3, 1/3)
    teacher, student = torch.tensor([[4.0, 1.0]]).log(), torch.zeros(1, 2)
    divergence = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert float(wttm_loss(student, teacher, 2.0)) == pytest.approx(1.34164 * divergence, rel=1e-5)


def test_without_a_transform_it_is_vanilla_kd():
    student, teacher, _ = tensors(4, 5, 1)
    want = kd_loss(student, teacher, 1.0)
    assert float(wttm_loss(student, teacher, 1.0)) == pytest.approx(float(want), rel=1e-12)


def test_it_is_zero_at_the_transformed_teacher():
    _, teacher, _ = tensors(4, 5, 1)
    assert float(wttm_loss(teacher / 4, teacher)) == pytest.approx(0, abs=1e-12)
