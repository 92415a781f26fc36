"""CWD against loops and by hand, its masks, and refusal of classifiers; see test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import CWDLoss
from mmickd.losses.base import mean_loss
from mmickd.structures import Queries
from mmickd.utils.errors import ICKDError
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import tensors

VALID = torch.tensor([[True, False, True, True], [False] * 4, [False, True, True, False]])


def maps():
    """Three images of four locations, five classes."""
    student, teacher, _ = tensors(12, 5, 1)
    return student.unflatten(0, (3, 4)), teacher.unflatten(0, (3, 4))


def queries_of(student, teacher, valid=VALID):
    return Queries(
        student.flatten(0, 1),
        teacher.flatten(0, 1),
        valid=valid.flatten(),
        shape=tuple(valid.shape),
    )


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize("valid", [VALID, VALID | True, VALID & False])
def test_cwd_equals_loop(temperature, valid):
    student, teacher = maps()
    expected = slow.cwd(student.tolist(), teacher.tolist(), valid.tolist(), temperature)
    result = mean_loss(CWDLoss(temperature), queries_of(student, teacher, valid))
    assert float(result) == pytest.approx(expected, rel=1e-10)


def test_golden_cwd():
    # One class has the map (3/4, 1/4) in the teacher and an even one in the student; one is alike.
    teacher = torch.tensor([[math.log(3.0), 1.0], [0.0, 5.0]])
    student = torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    result = mean_loss(CWDLoss(1.0), Queries(student, teacher, shape=(1, 2)))
    assert float(result) == pytest.approx(expected, rel=1e-5)


def test_a_number_added_to_a_class_changes_nothing():
    student, teacher = maps()
    expected = mean_loss(CWDLoss(), queries_of(student, teacher))
    assert torch.allclose(
        mean_loss(CWDLoss(), queries_of(student + torch.arange(5.0), teacher)), expected
    )
    shifted = mean_loss(CWDLoss(), queries_of(teacher + torch.arange(5.0), teacher))
    assert float(shifted) == pytest.approx(0, abs=1e-12)


def test_each_image_counts_once_however_many_locations_it_has():
    loss, queries = CWDLoss(), queries_of(*maps())
    assert loss.counted(queries).unflatten(0, (3, 4)).sum(dim=1).tolist() == [1, 0, 1]
    values = loss(queries).unflatten(0, (3, 4))
    assert torch.equal(values, values[:, :1].expand(3, 4))


def test_locations_that_do_not_count_may_hold_anything():
    student, teacher = maps()
    expected = mean_loss(CWDLoss(), queries_of(student, teacher))
    student[~VALID], teacher[~VALID] = torch.nan, torch.inf
    student.requires_grad_()
    result = mean_loss(CWDLoss(), queries_of(student, teacher))
    result.backward()
    assert torch.allclose(result, expected)
    assert torch.isfinite(student.grad).all() and not student.grad[~VALID].any()


def test_a_classifier_has_no_locations_to_compare():
    student, teacher, _ = tensors(3, 4, 1)
    with pytest.raises(ICKDError, match="use it with a segmenter"):
        CWDLoss()(Queries(student, teacher))
