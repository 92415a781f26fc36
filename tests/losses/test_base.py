"""What all losses share: means over the queries that count, and what the log shows of retrieval."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmickd.losses import BaseLoss
from mmickd.losses.base import average_factors, masked_sum, mean_similarity, reduce_loss
from mmickd.structures import Context
from tests.helpers.asking import queries
from tests.helpers.loss_cases import masked_context
from tests.helpers.ranks import on_ranks


def test_a_mean_drops_nan_rows():
    values = torch.tensor([1.0, torch.nan, 3.0], requires_grad=True)
    mean = reduce_loss(values, torch.tensor([True, False, True]))
    mean.backward()
    assert float(mean.detach()) == 2.0 and values.grad.tolist() == [0.5, 0.0, 0.5]
    with pytest.raises(ValueError, match="'mean' or 'none', got 'sum'"):
        reduce_loss(values, values > 0, "sum")


def test_without_reduction_every_row_keeps_its_value():
    values = torch.tensor([1.0, torch.nan])
    assert reduce_loss(values, torch.tensor([True, False]), "none") is values


def test_a_sum_drops_what_does_not_count():
    values = torch.tensor([1.0, torch.nan, torch.inf, 4.0], requires_grad=True)
    total = masked_sum(values, torch.tensor([True, False, False, True]))
    total.backward()
    assert float(total.detach()) == 5.0 and values.grad.tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("size", [0, 3])
def test_a_sum_of_nothing_is_zero_with_gradient_zero(size: int):
    values = torch.full((size,), torch.nan, requires_grad=True)
    total = masked_sum(values, torch.zeros(size, dtype=torch.bool))
    total.backward()
    assert float(total.detach()) == 0.0 and torch.equal(values.grad, torch.zeros(size))


def test_factors_of_one_rank_are_the_numbers_of_queries_and_never_zero():
    counted = [torch.tensor([True, False, True]), torch.zeros(4, dtype=torch.bool), torch.ones(1)]
    factors = average_factors([mask.bool() for mask in counted])
    assert factors.tolist() == [2.0, 1.0, 1.0] and factors.dtype == torch.float32


COUNTED = [  # by rank, by term
    [[True, True, False, True], [False], [False, True]],
    [[True], [False, False], []],
]


def mean_gradient() -> tuple[Tensor, list[list[float]]]:
    """Factors of this rank, and gradients of its own sums over them."""
    counted = [torch.tensor(mask).bool() for mask in COUNTED[torch.distributed.get_rank()]]
    factors, gradients = average_factors(counted), []
    for mask, factor in zip(counted, factors, strict=True):
        values = torch.zeros(len(mask), requires_grad=True)
        (masked_sum(values, mask) / factor).backward()
        gradients.append(values.grad.tolist())
    return factors, gradients


def test_over_ranks_every_query_counts_the_same():
    """DDP takes the mean of the ranks' gradients: a query of term 0 then has the weight 1/4."""
    answers = on_ranks(2, mean_gradient)
    for factors, _ in answers:
        assert factors.tolist() == [4 / 2, 1 / 2, 1 / 2]
    (first, second) = (gradients for _, gradients in answers)
    assert [g / 2 for g in first[0]] == [0.25, 0.25, 0.0, 0.25] and second[0] == [0.5]
    assert first[1] == [0.0] and second[1] == [0.0, 0.0]  # nobody counts
    assert [g / 2 for g in first[2]] == [0.0, 1.0] and second[2] == []


class Wanting(BaseLoss):
    """Wants a context of this size."""

    def __init__(self, num_positives: int | None, num_negatives: int) -> None:
        super().__init__()
        self.num_positives, self.num_negatives = num_positives, num_negatives

    def forward(self, asked):
        return asked.student_logits.sum(-1)


def context(similarity: list[list[float]], mask: list[list[bool]]) -> Context:
    found = torch.tensor(mask)
    shape = (*found.shape, 2)
    return Context(torch.tensor(similarity), torch.zeros(shape), found, found.long() - 1)


POSITIVES = context(
    [[0.9, 0.3], [0.6, 0.0], [0.0, 0.0]], [[True, True], [True, False], [False, False]]
)
NEGATIVES = context([[-0.5], [0.0], [0.7]], [[True], [False], [True]])


def shown(loss: BaseLoss, **fields) -> dict[str, float]:
    """What the log shows beside a loss that was asked about three queries."""
    zeros = torch.zeros(3, 2)
    asked = queries(zeros, zeros, **{"positives": POSITIVES, "negatives": NEGATIVES, **fields})
    return {name: float(value) for name, value in loss.diagnostics(asked).items()}


@pytest.mark.parametrize("wanted", [2, None])
def test_a_loss_of_positives_shows_their_share_and_similarity(wanted: int | None):
    # 3 of 2 * 3 wanted ones, (0.9 + 0.3 + 0.6) / 3
    assert shown(Wanting(wanted, 0)) == pytest.approx(dict(valid=0.5, sim=0.6))


def test_negatives_are_shown_beside_positives_or_alone():
    both = dict(valid=0.5, sim=0.6, neg_sim=0.1)
    assert shown(Wanting(2, 1)) == pytest.approx(both)
    assert shown(Wanting(0, 1)) == pytest.approx(dict(sim=0.1))  # (-0.5 + 0.7) / 2


def test_a_loss_that_retrieves_nothing_shows_nothing():
    assert shown(Wanting(0, 0)) == {} and not Wanting(0, 0).retrieves
    for wanted in ((1, 0), (None, 0), (0, 1)):
        assert Wanting(*wanted).retrieves


def test_queries_without_a_class_want_no_positives():
    assert shown(Wanting(2, 0), labels=torch.tensor([1, 0, -1]))["valid"] == 3 / 4
    nobody = dict(labels=torch.full((3,), -1), positives=masked_context(3, 2, 2))
    assert shown(Wanting(2, 0), **nobody) == dict(valid=0.0, sim=0.0)


def test_a_similarity_of_nothing_is_zero():
    assert float(mean_similarity(masked_context(3, 2, 4))) == 0.0
    assert float(mean_similarity(masked_context(3, 0, 4))) == 0.0


def test_valid_queries_count_unless_a_loss_says_otherwise():
    valid = torch.tensor([True, False])
    asked = queries(torch.zeros(2, 3), torch.zeros(2, 3), valid=valid)
    assert torch.equal(Wanting(0, 0).counted(asked), valid)
