"""PICD against loops and by hand, its gradients; see also test_every_loss."""

import math

import pytest
import torch

from mmickd.losses import PICDLoss, picd, picd_loss
from mmickd.losses.base import mean_loss
from mmickd.losses.picd import aggregate
from mmickd.structures import Context, Queries
from tests.helpers import slow_losses as slow
from tests.helpers.loss_cases import (
    SHAPES,
    masked_context,
    of_dtype,
    tensors,
    with_other_rows_under_the_mask,
)
from tests.helpers.operations import OperationRecorder


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("tau", [0.05, 0.1, 1.0])
def test_picd_equals_loop(shape, temperature, tau):
    student, _, context = tensors(*shape)
    rows = [getattr(context, name).tolist() for name in ("similarity", "logits", "mask")]
    expected = slow.picd(student.tolist(), *rows, temperature, tau)
    result = picd_loss(student, context, temperature, tau)
    assert float(result) == pytest.approx(expected, rel=1e-10)


def test_padding_does_not_count():
    student, teacher, context = tensors(7, 4, 5)
    valid = torch.arange(7) % 3 != 1
    expected = picd_loss(student[valid], Context(*(t[valid] for t in vars(context).values())))
    queries = Queries(student, teacher, valid=valid, positives=context)
    assert torch.allclose(mean_loss(PICDLoss(), queries), expected)


def test_infinite_similarity_temperature_gives_equal_weights():
    student, _, context = tensors(6, 5, 4)
    result = picd_loss(student, context, sim_temperature=math.inf)
    assert torch.allclose(picd_loss(student, context, sim_temperature=1e9), result)
    context.similarity.zero_()
    assert torch.allclose(picd_loss(student, context, sim_temperature=0.1), result)


def test_small_similarity_temperature_takes_the_nearest_alone():
    _, _, context = tensors(6, 5, 4)
    target = aggregate(context, 1.0, 1e-6)
    scores = context.similarity.masked_fill(~context.mask, -math.inf)
    for i in context.has_rows.nonzero()[:, 0].tolist():
        nearest = context.logits[i, scores[i].argmax()].softmax(0)
        assert torch.allclose(target[i], nearest, atol=1e-9)


def test_rows_under_the_mask_change_nothing():
    student, _, context = tensors(7, 4, 5)
    changed = with_other_rows_under_the_mask(context)
    assert torch.equal(picd_loss(student, context), picd_loss(student, changed))


def test_golden_picd():
    # Weights e^1 and e^0 over two nearly one-hot rows: 0.7311, 0.2689. An even student.
    mask = torch.ones(1, 2, dtype=torch.bool)
    logits = torch.tensor([[[100.0, 0.0], [0.0, 100.0]]])
    context = Context(torch.tensor([[0.1, 0.0]]), logits, mask, mask.long())
    # KL((.7311, .2689) || (.5, .5)) = ln 2 - H = 0.6931 - 0.5822
    assert float(picd_loss(torch.zeros(1, 2), context)) == pytest.approx(0.1109, abs=1e-4)


def test_a_bank_may_have_less_precision_than_the_student_or_more():
    student, _, context = tensors(5, 4, 3)
    narrow = of_dtype(context, torch.float32)
    assert torch.allclose(picd_loss(student, narrow), picd_loss(student, context), rtol=1e-5)
    assert picd_loss(student.half(), narrow).dtype == torch.float32


def test_the_context_gets_no_gradient():
    student, _, context = tensors(4, 3, 2)
    for tensor in (student, context.similarity, context.logits):
        tensor.requires_grad_()
    rows = context.similarity, context.logits
    gradients = torch.autograd.grad(
        picd_loss(student, context), (student, *rows), allow_unused=True
    )
    assert gradients[0].abs().sum() > 0 and gradients[1:] == (None, None)


@pytest.mark.parametrize("width", [0, 3])
def test_without_a_positive_it_is_zero_with_gradient_zero(width):
    student = torch.randn(4, 5, requires_grad=True)
    loss = picd_loss(student, masked_context(4, width, 5))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(student.grad, torch.zeros(4, 5))


def test_only_queries_with_context_get_a_gradient():
    student, _, context = tensors(6, 4, 3)  # query 0 has none
    student.requires_grad_()
    picd_loss(student, context).backward()
    assert not context.has_rows[0]
    assert torch.equal(student.grad.abs().sum(dim=1) > 0, context.has_rows)


@pytest.mark.parametrize("elements", [1, 20, 40, 41, 10**6])
def test_whole_classes_are_aggregated_in_pieces(monkeypatch, elements):
    """5 queries of 20 logits each: one, one, two, two and all of them at once."""
    _, _, context = tensors(5, 4, 5, dtype=torch.float32)
    expected = aggregate(context, 2.0, 0.1)
    monkeypatch.setattr(picd, "CHUNK_ELEMENTS", elements)
    with OperationRecorder() as operations:
        result = aggregate(context, 2.0, 0.1)
    assert torch.equal(result, expected)
    assert operations.largest <= max(elements, 25)
