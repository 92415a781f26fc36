"""Label smoothing as a term beside the task's own loss; see also test_every_loss."""

import pytest
import torch
import torch.nn.functional as F

from mmickd.losses import LabelSmoothingLoss
from mmickd.losses.base import mean_loss
from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import LossTerms
from mmickd.structures import Queries
from tests.helpers.loss_cases import tensors


@pytest.mark.parametrize("smoothing", [0.1, 0.35])
def test_beside_the_complement_of_the_task_it_is_label_smoothing(smoothing):
    student, teacher, _ = tensors(6, 5, 1)
    labels = torch.tensor([0, 4, 2, 2, 1, 3])
    term = dict(type="LabelSmoothingLoss", loss_weight=smoothing)
    terms = LossTerms.build(
        dict(kd=term, picd=None, nicd=None, task=dict(loss_weight="complement"))
    )
    now = TrainProgress(0, 10, 10)
    weights = terms.weights(now)
    total = terms.task_weight(now, weights) * F.cross_entropy(student, labels)
    total = total + weights["kd"] * mean_loss(terms["kd"].loss, Queries(student, teacher))
    expected = F.cross_entropy(student, labels, label_smoothing=smoothing)
    assert float(total) == pytest.approx(float(expected), rel=1e-12)


def test_its_minimum_is_where_all_classes_are_equal():
    even = torch.zeros(2, 4, requires_grad=True)
    mean_loss(LabelSmoothingLoss(), Queries(even, even)).backward()
    assert float(even.grad.abs().max()) < 1e-7
    logits = torch.tensor([[0.0, 1.0]])
    assert LabelSmoothingLoss()(Queries(logits, logits)).tolist() == pytest.approx([0.8133], 1e-4)
