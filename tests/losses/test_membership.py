"""Instance membership: values against loops; see also test_every_loss and test_nearest."""

import pytest
import torch

from mmickd.losses import MembershipLoss, membership_loss
from mmickd.structures import Context
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import SHAPES, tensors


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_membership_equals_loop(shape, count):
    student, teacher, positives = tensors(*shape)
    negatives = tensors(*shape, seed=1)[2]
    joined = [
        torch.cat([getattr(positives, name), getattr(negatives, name)], dim=1).tolist()
        for name in ("similarity", "logits", "mask")
    ]
    rows = slow.nearest(*joined, count)
    there = [[True] * len(near) for near in rows]
    want = slow.nicd(student.tolist(), teacher.tolist(), rows, there, 0.3)
    found = membership_loss(student, teacher, positives, negatives, count, 0.3)
    assert float(found) == pytest.approx(want, rel=1e-10)
    own = mean_of(MembershipLoss(count, 0.3), queries(student, teacher, positives, negatives))
    assert float(own) == pytest.approx(want, rel=1e-10)


def test_rows_of_the_own_class_are_pushed_away_too():
    teacher = torch.tensor([[2.0, 0.0, 0.0]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    near = Context(torch.ones(1, 1), torch.tensor([[[2.0, 1.0, 0.0]]]), mask, mask.long())
    student = torch.zeros(1, 3, requires_grad=True)
    membership_loss(student, teacher, near, Context.empty(teacher)).backward()
    # away from the row that has something of the second class
    assert float(student.grad[0, 1]) > 0 > float(student.grad[0, 0])


@pytest.mark.parametrize("width", [0, 2])
def test_without_a_row_there_is_no_loss(width):
    """Not even where contexts have width 0, which is NICD's control."""
    teacher = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    shape = (2, width)
    mask = torch.zeros(shape, dtype=torch.bool)
    none = Context(torch.zeros(shape), torch.zeros(*shape, 3), mask, mask.long() - 1)
    student = torch.randn(2, 3, requires_grad=True)
    loss = membership_loss(student, teacher, none, Context.empty(teacher))
    loss.backward()
    assert loss.item() == 0.0 and not student.grad.any()
    one_valid = torch.tensor([True, False])
    assert membership_loss(student, teacher, none, none, valid=one_valid).item() == 0.0
