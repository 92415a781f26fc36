"""KD with the context's vote in its target: against loops and by hand; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import ContextKDLoss, context_kd_loss, kd_loss
from mmickd.losses.context_kd import context_target
from mmickd.losses.nearest import nearest_rows
from mmickd.registry import LOSSES
from mmickd.structures import Context
from mmickd.utils.errors import ICKDError
from tests.helpers import slow_losses as slow
from tests.helpers.asking import mean_of, queries
from tests.helpers.loss_cases import SHAPES, tensors, with_other_rows_under_the_mask


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperatures", [(1.0, 0.1), (4.0, 0.5)])
def test_equals_loop(shape, mix, temperatures):
    student, teacher, rows = tensors(*shape)
    lists = [getattr(rows, name).tolist() for name in ("similarity", "logits", "mask")]
    want = slow.context_kd(student.tolist(), teacher.tolist(), lists, mix, *temperatures)
    found = context_kd_loss(student, teacher, rows, mix, *temperatures)
    assert float(found) == pytest.approx(want, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_term_asks_the_nearest_rows_of_any_class(shape, count):
    student, teacher, positives = tensors(*shape)
    negatives = tensors(*shape, seed=1)[2]
    want = context_kd_loss(student, teacher, nearest_rows(positives, negatives, count))
    own = mean_of(ContextKDLoss(num_rows=count), queries(student, teacher, positives, negatives))
    assert float(own) == pytest.approx(float(want), rel=1e-12)


def test_features_that_the_loss_does_not_use_are_not_computed():
    student, teacher, rows = tensors(7, 4, 5)

    def never():
        raise AssertionError("computed")

    lazy = queries(student, teacher, rows, rows, student_features=never, features=never)
    assert torch.isfinite(ContextKDLoss()(lazy)).all()


def test_golden():
    # The teacher repeats the wrong label; three of the four equally similar rows say the other.
    sure = torch.tensor([20.0, 0.0])
    rows = torch.stack([sure.flip(0), sure.flip(0), sure, sure.flip(0)])[None]
    mask = torch.ones(1, 4, dtype=torch.bool)
    context = Context(torch.full((1, 4), 0.9), rows, mask, mask.long())
    student = torch.tensor([[math.log(1.0), math.log(3.0)]])
    assert float(context_kd_loss(student, sure[None], context)) == pytest.approx(0, abs=1e-6)
    own = -math.log(0.25)
    assert float(context_kd_loss(student, sure[None], context, mix=0.0)) == pytest.approx(own)


def test_no_share_of_the_context_is_vanilla_kd():
    student, teacher, rows = tensors(7, 4, 5)
    want = kd_loss(student, teacher, 3.0)
    assert float(context_kd_loss(student, teacher, rows, 0.0, 3.0)) == pytest.approx(float(want))


def test_without_a_row_the_teacher_answers_for_itself():
    student, teacher, _ = tensors(7, 4, 5)
    nothing = Context.empty(teacher)
    want = float(kd_loss(student, teacher, 2.0))
    assert float(context_kd_loss(student, teacher, nothing, 1.0, 2.0)) == pytest.approx(want)
    loss = ContextKDLoss(temperature=2.0)
    assert float(mean_of(loss, queries(student, teacher))) == pytest.approx(want)


def test_what_lies_under_the_mask_changes_nothing():
    student, teacher, rows = tensors(7, 4, 5)
    want = context_kd_loss(student, teacher, rows)
    other = context_kd_loss(student, teacher, with_other_rows_under_the_mask(rows))
    assert torch.equal(other, want)


@pytest.mark.parametrize("option", ["mix=-0.1", "mix=1.1", "temperature=0", "num_rows=0"])
def test_wrong_options(option):
    name, value = option.split("=")
    with pytest.raises(ICKDError, match=name):
        ContextKDLoss(**{name: float(value) if "." in value else int(value)})


@pytest.mark.parametrize("inner", ["DISTLoss", "DKDLoss", "KDLoss"])
def test_another_loss_may_have_the_target(inner):
    student, teacher, positives = tensors(7, 4, 5)
    negatives = tensors(7, 4, 5, seed=1)[2]
    asked = queries(student, teacher, positives, negatives)
    given = {"type": inner, "temperature": 1.0}
    loss = ContextKDLoss(num_rows=3, mix=0.4, loss=given)
    rows = nearest_rows(positives, negatives, 3)
    target = context_target(teacher, rows, 0.4)
    plain = LOSSES.build({**given, "dense": False})
    want = mean_of(plain, queries(student, target.log()))
    assert float(mean_of(loss, asked)) == pytest.approx(float(want), rel=1e-10)
    assert not loss.is_dense and loss.num_negatives == 3
    own = ContextKDLoss(mix=0.0, loss=given)
    want = mean_of(plain, queries(student, teacher))
    assert float(mean_of(own, asked)) == pytest.approx(float(want), rel=1e-10)


def test_a_class_that_nobody_votes_for_gives_no_nan():
    student = torch.zeros(2, 3, requires_grad=True)
    sure = torch.tensor([[300.0, 0.0, 0.0], [0.0, 300.0, 0.0]])
    one = torch.ones(2, 1)
    rows = Context(one, sure[:, None], one > 0, torch.zeros(2, 1, dtype=torch.long))
    for given in (None, {"type": "DISTLoss"}, {"type": "KDLoss", "standardize": True}):
        loss = mean_of(ContextKDLoss(num_rows=1, loss=given), queries(student, sure, rows))
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.isfinite() and gradient.isfinite().all()


def test_an_inner_loss_is_one_between_logits():
    with pytest.raises(ICKDError, match="NICDLoss"):
        ContextKDLoss(loss={"type": "NICDLoss"})
    with pytest.raises(ICKDError, match=r"loss\.temperature"):
        ContextKDLoss(loss={"temperature": 0})
