"""Similarity distributions: values against loops and by hand; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import RelationalLoss, relational_loss
from mmickd.structures import Context
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import SHAPES, tensors, with_other_rows_under_the_mask


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperatures", [(0.1, 0.1), (1.0, 0.3)])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_relational_equals_loop(shape, temperatures, count):
    student, teacher, positives = tensors(*shape)
    negatives = tensors(*shape, seed=1)[2]
    joined = [
        torch.cat([getattr(positives, name), getattr(negatives, name)], dim=1).tolist()
        for name in ("similarity", "logits", "mask")
    ]
    rows = slow.nearest(*joined, count)
    want = slow.relational(student.tolist(), teacher.tolist(), rows, *temperatures)
    found = relational_loss(student, teacher, positives, negatives, count, *temperatures)
    assert float(found) == pytest.approx(want, rel=1e-8, abs=1e-12)
    own = mean_of(
        RelationalLoss(count, *temperatures), queries(student, teacher, positives, negatives)
    )
    assert float(own) == pytest.approx(want, rel=1e-8, abs=1e-12)


def test_golden_relational():
    # The teacher's direction is that of one row and opposite to the other's: similarities 1 and -1.
    # The student says nothing: even. T_t = 2: p = (e^0.5, e^-0.5) / sum.
    teacher = torch.tensor([[2.0, 0.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    rows = Context(torch.ones(1, 2), torch.stack([teacher, -teacher], dim=1), mask, mask.long())
    p = math.exp(0.5) / (math.exp(0.5) + math.exp(-0.5))
    want = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    found = relational_loss(torch.zeros(1, 2), teacher, rows, Context.empty(teacher), 9, 0.1, 2.0)
    assert float(found) == pytest.approx(want, rel=1e-5)


def test_it_vanishes_where_the_student_is_as_similar_as_the_teacher():
    _, teacher, positives = tensors(7, 4, 5)
    negatives = tensors(7, 4, 5, seed=1)[2]
    # the 1 under the root of the student's direction counts for nothing in large logits
    found = relational_loss(1e6 * teacher, teacher, positives, negatives)
    assert float(found) == pytest.approx(0, abs=1e-9)


def test_what_lies_under_the_mask_changes_nothing():
    student, teacher, positives = tensors(7, 4, 5)
    nothing = Context.empty(teacher)
    other = with_other_rows_under_the_mask(positives)
    want = relational_loss(student, teacher, positives, nothing)
    assert torch.equal(relational_loss(student, teacher, other, nothing), want)
