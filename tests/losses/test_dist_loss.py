"""DIST against loops and by hand; see also test_every_loss."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmickd.losses import DISTLoss, dist_loss
from mmickd.losses.base import average_factors, masked_sum, mean_loss
from mmickd.structures import Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors
from tests.helpers.ranks import on_ranks


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 0.0, 4.0), (0.0, 3.0, 0.5)])
def test_dist_equals_loop(shape, weights):
    student, teacher, _ = tensors(*shape)
    valid = torch.arange(shape[0]) % 3 != 1
    rows = student.tolist(), teacher.tolist()
    result = mean_loss(DISTLoss(*weights), Queries(student, teacher, valid=valid))
    assert float(result) == pytest.approx(slow.dist(*rows, valid.tolist(), *weights), rel=1e-10)
    expected = slow.dist(*rows, [True] * shape[0], *weights)
    assert float(dist_loss(student, teacher, *weights)) == pytest.approx(expected, rel=1e-10)


def test_golden_dist():
    # Rows of two classes correlate by 1 or -1; columns too where two rows change places.
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert float(dist_loss(z, z)) == pytest.approx(0.0, abs=1e-6)
    assert float(dist_loss(z.flip(0), z, 3.0, 5.0)) == pytest.approx(2 * 3 + 2 * 5, rel=1e-6)
    assert float(dist_loss(z.flip(0), z, 1.0, 0.0, 2.0)) == pytest.approx(4 * 2, rel=1e-6)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**20))
def test_dist_lies_between_0_and_2_of_each_weight(count, classes, seed):
    student, teacher, _ = tensors(count, classes, 1, seed)
    values = DISTLoss(1.0, 10.0)(Queries(student, teacher))
    assert float(values.min()) >= -1e-9 and float(values.max()) <= 22 + 1e-9
    assert float(dist_loss(teacher, teacher)) == pytest.approx(0, abs=1e-9)


def test_queries_that_do_not_count_are_in_no_column():
    student, teacher, _ = tensors(6, 4, 1)
    valid = torch.tensor([True, False, True, True, False, True])
    expected = dist_loss(student[valid], teacher[valid])
    student[1], teacher[4] = torch.nan, torch.inf
    student.requires_grad_()
    loss = mean_loss(DISTLoss(), Queries(student, teacher, valid=valid))
    loss.backward()
    assert torch.allclose(loss, expected)
    assert torch.isfinite(student.grad).all() and not student.grad[[1, 4]].any()


def test_the_relation_between_queries_is_the_same_number_for_each():
    student, teacher, _ = tensors(5, 4, 1)
    values = DISTLoss(0.0, 1.0)(Queries(student, teacher))
    assert torch.equal(values, values[:1].expand(5)) and float(values[0]) > 0


COUNTED = torch.tensor([True, False, True, True, True, False])


def step_on_rank() -> tuple[float, torch.Tensor, float]:
    """Return a rank's share of the step, its gradient, and the loss of its queries alone."""
    student, teacher, valid = (
        z.split((4, 0, 2))[torch.distributed.get_rank()] for z in (*tensors(6, 4, 1)[:2], COUNTED)
    )
    student = student.clone().requires_grad_()
    loss, queries = DISTLoss(2.0, 3.0, 4.0), Queries(student, teacher, valid=valid)
    (factor,) = average_factors([valid])
    total = masked_sum(loss(queries), valid) / factor
    total.backward()
    return float(total.detach()), student.grad, float(dist_loss(student.detach(), teacher))


def test_a_column_covers_all_ranks():
    """The mean over the ranks, which DDP takes, is the loss of one rank with all queries."""
    student, teacher, _ = tensors(6, 4, 1)
    queries = Queries(student.requires_grad_(), teacher, valid=COUNTED)
    expected = mean_loss(DISTLoss(2.0, 3.0, 4.0), queries)
    expected.backward()
    ranks = on_ranks(3, step_on_rank)
    assert sum(value for value, _, _ in ranks) / 3 == pytest.approx(float(expected.detach()))
    gradient = torch.cat([gradient for _, gradient, _ in ranks]) / 3
    assert torch.allclose(gradient, student.grad, rtol=1e-6)
    parts = zip(student.split((4, 0, 2)), teacher.split((4, 0, 2)), strict=True)
    alone = [float(dist_loss(*part).detach()) for part in parts]
    assert [value for _, _, value in ranks] == pytest.approx(alone)  # the function: this rank only


@pytest.mark.parametrize("equal", ["rows", "columns", "one query"])
def test_equal_numbers_have_no_correlation(equal):
    """Equal numbers have no deviation to be divided by."""
    _, teacher, _ = tensors(4, 3, 1, dtype=torch.float32)
    student = torch.full((4, 3), 3.3)
    if equal == "columns":
        student = torch.tensor([[3.3, 0.1, -2.0]]).repeat(4, 1)
    if equal == "one query":
        student, teacher = student[:1] * torch.tensor([1.0, 2.0, 3.0]), teacher[:1]
    student.requires_grad_()
    intra = dist_loss(student, teacher, 0.0, 1.0)
    intra.backward()
    assert float(intra.detach()) == pytest.approx(1.0, abs=1e-4)
    assert torch.isfinite(student.grad).all() and float(student.grad.abs().max()) < 1
