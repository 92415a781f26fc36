"""Instance membership against loops; see also test_every_loss and test_base."""

import pytest
import torch

from mmickd.losses import MembershipLoss
from mmickd.losses.base import mean_loss
from mmickd.structures import Context, Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, masked_context, tensors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_membership_equals_loop(shape, count):
    student, teacher, positives = tensors(*shape)
    negatives = tensors(*shape, seed=1)[2]
    rows = slow.nearest(positives, negatives, count)
    mask = [[True] * len(near) for near in rows]
    expected = slow.nicd(student.tolist(), teacher.tolist(), rows, mask, 0.3)
    queries = Queries(student, teacher, positives=positives, negatives=negatives)
    result = mean_loss(MembershipLoss(count, 0.3), queries)
    assert float(result) == pytest.approx(expected, rel=1e-10)


def test_rows_of_the_querys_class_are_negatives_too():
    teacher = torch.tensor([[2.0, 0.0, 0.0]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    near = Context(torch.ones(1, 1), torch.tensor([[[2.0, 1.0, 0.0]]]), mask, mask.long())
    student = torch.zeros(1, 3, requires_grad=True)
    mean_loss(MembershipLoss(), Queries(student, teacher, positives=near)).backward()
    # away from the row, whose second logit is larger than the teacher's
    assert float(student.grad[0, 1]) > 0 > float(student.grad[0, 0])


@pytest.mark.parametrize("width", [0, 2])
def test_without_a_row_there_is_no_loss(width):
    """Contexts of width 0 are NICD's control, but not a control of this loss."""
    teacher = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    student = torch.randn(2, 3, requires_grad=True)
    queries = Queries(student, teacher, positives=masked_context(2, width, 3))
    loss = mean_loss(MembershipLoss(), queries)
    loss.backward()
    assert loss.item() == 0.0 and not student.grad.any()
