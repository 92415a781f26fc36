"""CWD: its values against loops and hand-made numbers, its masks, gradients, and who may use it."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mmickd.losses import CWDLoss, cwd_loss
from mmickd.utils.errors import ICKDError
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import HALVES, tensors

VALID = torch.tensor([[True, False, True, True], [False] * 4, [False, True, True, False]])


def maps(dtype=torch.float64, scale=2.0):
    """Three images of four locations, five classes."""
    student, teacher, _ = tensors(12, 5, 1, dtype=dtype, scale=scale)
    return student.unflatten(0, (3, 4)), teacher.unflatten(0, (3, 4))


def asked(student, teacher, valid):
    flat = dict(valid=valid.flatten(), shape=tuple(valid.shape))
    return queries(student.flatten(0, 1), teacher.flatten(0, 1), **flat)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize("valid", [VALID, VALID | True, VALID & False])
def test_cwd_equals_loop(temperature, valid):
    student, teacher = maps()
    want = slow.cwd(student.tolist(), teacher.tolist(), valid.tolist(), temperature)
    found = cwd_loss(student, teacher, temperature, valid)
    assert float(found) == pytest.approx(want, rel=1e-10)
    own = mean_of(CWDLoss(temperature), asked(student, teacher, valid))
    assert float(own) == pytest.approx(want, rel=1e-10)


def test_golden_cwd():
    # one class whose map is (3/4, 1/4) for the teacher and even for the student; another is alike
    teacher = torch.tensor([[[math.log(3.0), 1.0], [0.0, 5.0]]])
    student = torch.tensor([[[0.0, 1.0], [0.0, 5.0]]])
    want = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert float(cwd_loss(student, teacher, 1.0)) == pytest.approx(want, rel=1e-5)


def test_a_number_added_to_a_class_changes_nothing():
    student, teacher = maps()
    shifted = student + torch.arange(5.0)
    assert torch.allclose(cwd_loss(shifted, teacher), cwd_loss(student, teacher))
    assert float(cwd_loss(teacher + torch.arange(5.0), teacher)) == pytest.approx(0, abs=1e-12)


def test_each_image_counts_once_however_many_locations_it_has():
    student, teacher = maps()
    loss, one = CWDLoss(), asked(student, teacher, VALID)
    assert loss.counted(one).unflatten(0, (3, 4)).sum(dim=1).tolist() == [1, 0, 1]
    values = loss(one).unflatten(0, (3, 4))
    assert torch.equal(values, values[:, :1].expand(3, 4))


def test_locations_that_do_not_count_may_hold_anything():
    student, teacher = maps()
    want = cwd_loss(student, teacher, valid=VALID)
    student[~VALID], teacher[~VALID] = torch.nan, torch.inf
    student.requires_grad_()
    loss = cwd_loss(student, teacher, valid=VALID)
    loss.backward()
    assert torch.allclose(loss, want)
    assert torch.isfinite(student.grad).all() and not student.grad[~VALID].any()


def test_gradcheck():
    student, teacher = maps()
    student.requires_grad_()
    assert gradcheck(lambda s: cwd_loss(s, teacher, 2.0, VALID), student)


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_is_computed_in_float32(half):
    student, teacher = (z.to(half) for z in maps(torch.float32, 3.0))
    got = cwd_loss(student, teacher)
    assert got.dtype == torch.float32
    assert torch.equal(got, cwd_loss(student.float(), teacher.float()))


@pytest.mark.parametrize("scale", [1e4, 1e-4, 0.0])
def test_extreme_logits_stay_finite(scale):
    student, teacher = maps(torch.float32, scale)
    student.requires_grad_()
    loss = cwd_loss(student, teacher, 1.0, VALID)
    loss.backward()
    assert math.isfinite(float(loss.detach())) and torch.isfinite(student.grad).all()


def test_a_classifier_has_no_locations_to_compare():
    student, teacher, _ = tensors(3, 4, 1)
    with pytest.raises(ICKDError, match=r"compares the locations of an image.*with a segmenter"):
        CWDLoss()(queries(student, teacher))
