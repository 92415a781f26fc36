"""KD with neighbour targets against loops and by hand; see also test_every_loss."""

import math
from dataclasses import replace

import pytest
import torch

from mmickd.losses import ContextKDLoss, kd_loss
from mmickd.losses.base import mean_loss
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.errors import ICKDError
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import SHAPES, tensors, with_other_rows_under_the_mask


def queries_of(*shape):
    student, teacher, positives = tensors(*shape)
    negatives = tensors(*shape, seed=1)[2]
    return Queries(student, teacher, positives=positives, negatives=negatives)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperatures", [(1.0, 0.1), (4.0, 0.5)])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_equals_loop(shape, mix, temperatures, count):
    queries = queries_of(*shape)
    rows = slow.nearest(queries.positives, queries.negatives, count)
    similarity = slow.nearest(queries.positives, queries.negatives, count, "similarity")
    student, teacher = queries.student_logits.tolist(), queries.teacher_logits.tolist()
    expected = slow.context_kd(student, teacher, similarity, rows, mix, *temperatures)
    result = mean_loss(ContextKDLoss(mix, *temperatures, num_rows=count), queries)
    assert float(result) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_golden():
    # The teacher memorised a label error; three of the four equally similar rows contradict it.
    certain = torch.tensor([20.0, 0.0])
    rows = torch.stack([certain.flip(0), certain.flip(0), certain, certain.flip(0)])[None]
    mask = torch.ones(1, 4, dtype=torch.bool)
    context = Context(torch.full((1, 4), 0.9), rows, mask, mask.long())
    student = torch.tensor([[math.log(1.0), math.log(3.0)]])
    queries = Queries(student, certain[None], positives=context)
    assert float(mean_loss(ContextKDLoss(), queries)) == pytest.approx(0, abs=1e-6)
    expected = pytest.approx(-math.log(0.25), rel=1e-6)
    assert float(mean_loss(ContextKDLoss(mix=0.0), queries)) == expected


def test_without_a_row_the_target_is_the_teachers_prediction():
    student, teacher, _ = tensors(7, 4, 5)
    result = mean_loss(ContextKDLoss(temperature=2.0), Queries(student, teacher))
    assert float(result) == pytest.approx(float(kd_loss(student, teacher, 2.0)))


def test_rows_under_the_mask_change_nothing():
    queries = queries_of(7, 4, 5)
    changed = replace(queries, positives=with_other_rows_under_the_mask(queries.positives))
    assert torch.equal(ContextKDLoss()(changed), ContextKDLoss()(queries))


def test_features_that_no_loss_reads_are_not_computed():
    def fail():
        raise AssertionError("computed")

    queries = replace(queries_of(7, 4, 5), student_features=fail, features=fail)
    assert torch.isfinite(ContextKDLoss()(queries)).all()


@pytest.mark.parametrize("option", ["mix=-0.1", "mix=1.1", "temperature=0", "num_rows=0"])
def test_bad_options(option):
    name, value = option.split("=")
    with pytest.raises(ICKDError, match=name):
        ContextKDLoss(**{name: float(value) if "." in value else int(value)})


@pytest.mark.parametrize("inner", ["DISTLoss", "DKDLoss", "KDLoss"])
def test_another_loss_may_have_the_target(inner):
    queries = replace(queries_of(7, 4, 5), labels=torch.arange(7) % 4)
    config = {"type": inner, "temperature": 1.0}
    loss = ContextKDLoss(num_rows=3, mix=0.4, loss=config)
    plain = LOSSES.build({**config, "dense": False})
    expected = mean_loss(plain, replace(queries, teacher_logits=loss.target(queries).log()))
    assert float(mean_loss(loss, queries)) == pytest.approx(float(expected), rel=1e-10)
    assert not loss.is_dense and loss.num_negatives == 3
    result = mean_loss(ContextKDLoss(mix=0.0, loss=config), queries)
    assert float(result) == pytest.approx(float(mean_loss(plain, queries)), rel=1e-10)


@pytest.mark.parametrize(
    "inner", [None, {"type": "DISTLoss"}, {"type": "KDLoss", "standardize": True}]
)
def test_a_class_that_no_neighbour_predicts_gives_no_nan(inner):
    student = torch.zeros(2, 3, requires_grad=True)
    certain = torch.tensor([[300.0, 0.0, 0.0], [0.0, 300.0, 0.0]])
    mask = torch.ones(2, 1, dtype=torch.bool)
    rows = Context(torch.ones(2, 1), certain[:, None], mask, mask.long())
    loss = ContextKDLoss(num_rows=1, loss=inner)
    value = mean_loss(loss, Queries(student, certain, positives=rows))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.isfinite() and gradient.isfinite().all()


def test_an_inner_loss_is_one_between_logits():
    with pytest.raises(ICKDError, match="NICDLoss"):
        ContextKDLoss(loss={"type": "NICDLoss"})
    with pytest.raises(ICKDError, match=r"loss\.temperature"):
        ContextKDLoss(loss={"temperature": 0})
