"""Similarity distributions against loops and by hand; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import RelationalLoss
from mmickd.losses.base import mean_loss
from mmickd.structures import Context, Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors, with_other_rows_under_the_mask


def relational(student, teacher, positives, negatives=None, **options):
    queries = Queries(student, teacher, positives=positives, negatives=negatives)
    return mean_loss(RelationalLoss(**options), queries)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperatures", [(0.1, 0.1), (1.0, 0.3)])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_relational_equals_loop(shape, temperatures, count):
    student, teacher, positives = tensors(*shape)
    negatives = tensors(*shape, seed=1)[2]
    rows = slow.nearest(positives, negatives, count)
    expected = slow.relational(student.tolist(), teacher.tolist(), rows, *temperatures)
    options = dict(zip(("temperature", "teacher_temperature"), temperatures, strict=True))
    result = relational(student, teacher, positives, negatives, num_rows=count, **options)
    assert float(result) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_golden_relational():
    # The teacher's direction is that of one row and opposite to the other's: similarities 1 and -1.
    # The student's are equal. T_t = 2: p = (e^0.5, e^-0.5) / sum.
    teacher = torch.tensor([[2.0, 0.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    rows = Context(torch.ones(1, 2), torch.stack([teacher, -teacher], dim=1), mask, mask.long())
    p = math.exp(0.5) / (math.exp(0.5) + math.exp(-0.5))
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    result = relational(torch.zeros(1, 2), teacher, rows, teacher_temperature=2.0)
    assert float(result) == pytest.approx(expected, rel=1e-5)


def test_it_vanishes_where_the_student_is_as_similar_as_the_teacher():
    _, teacher, positives = tensors(7, 4, 5)
    negatives = tensors(7, 4, 5, seed=1)[2]
    # The 1 under the root of the student's direction is negligible for large logits.
    result = relational(1e6 * teacher, teacher, positives, negatives)
    assert float(result) == pytest.approx(0, abs=1e-9)


def test_rows_under_the_mask_change_nothing():
    student, teacher, positives = tensors(7, 4, 5)
    changed = with_other_rows_under_the_mask(positives)
    expected = relational(student, teacher, positives)
    assert torch.equal(relational(student, teacher, changed), expected)
