"""Functions and bases that losses share: means over ranks, nearest rows, divergences, the log."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmickd.losses import BaseLoss, MembershipLoss, RelationalLoss
from mmickd.losses.base import (
    average_factors,
    divide_by_size,
    kl_divergence,
    masked_log_softmax,
    masked_sum,
    mean_loss,
    mean_similarity,
    nearest_rows,
)
from mmickd.retrieval import TorchRetriever
from mmickd.structures import Context, Queries
from tests.helpers.loss_cases import masked_context
from tests.helpers.ranks import on_ranks
from tests.helpers.steps import CLASSES, bank


def test_a_sum_drops_queries_that_do_not_count():
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


def factors_and_gradients() -> tuple[Tensor, list[list[float]]]:
    """Return the factors of this rank, and the gradients of its sums divided by them."""
    counted = [torch.tensor(mask).bool() for mask in COUNTED[torch.distributed.get_rank()]]
    factors, gradients = average_factors(counted), []
    for mask, factor in zip(counted, factors, strict=True):
        values = torch.zeros(len(mask), requires_grad=True)
        (masked_sum(values, mask) / factor).backward()
        gradients.append(values.grad.tolist())
    return factors, gradients


def test_over_ranks_every_query_counts_the_same():
    """DDP takes the mean of the ranks' gradients: a query of term 0 then has the weight 1/4."""
    ranks = on_ranks(2, factors_and_gradients)
    for factors, _ in ranks:
        assert factors.tolist() == [4 / 2, 1 / 2, 1 / 2]
    (first, second) = (gradients for _, gradients in ranks)
    assert [g / 2 for g in first[0]] == [0.25, 0.25, 0.0, 0.25] and second[0] == [0.5]
    assert first[1] == [0.0] and second[1] == [0.0, 0.0]  # no query counts
    assert [g / 2 for g in first[2]] == [0.0, 1.0] and second[2] == []


class Requesting(BaseLoss):
    """Requests a context of this size."""

    def __init__(self, num_positives: int | None, num_negatives: int) -> None:
        super().__init__()
        self.num_positives, self.num_negatives = num_positives, num_negatives

    def forward(self, queries):
        return queries.student_logits.sum(-1)


def context(similarity: list[list[float]], mask: list[list[bool]]) -> Context:
    valid = torch.tensor(mask)
    return Context(torch.tensor(similarity), torch.zeros(*valid.shape, 2), valid, valid.long() - 1)


POSITIVES = context(
    [[0.9, 0.3], [0.6, 0.0], [0.0, 0.0]], [[True, True], [True, False], [False, False]]
)
NEGATIVES = context([[-0.5], [0.0], [0.7]], [[True], [False], [True]])


def diagnostics(loss: BaseLoss, labels: list[int], positives: Context = POSITIVES):
    logits = torch.zeros(3, 2)
    queries = Queries(
        logits, logits, labels=torch.tensor(labels), positives=positives, negatives=NEGATIVES
    )
    return {name: float(value) for name, value in loss.diagnostics(queries).items()}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((2, 0), dict(valid=0.5, sim=0.6)),  # 3 of 2 * 3 requested, (0.9 + 0.3 + 0.6) / 3
        ((None, 0), dict(valid=0.5, sim=0.6)),
        ((2, 1), dict(valid=0.5, sim=0.6, neg_sim=0.1)),
        ((0, 1), dict(sim=0.1)),  # (-0.5 + 0.7) / 2
        ((0, 0), {}),
    ],
)
def test_a_loss_logs_share_and_similarity_of_its_rows(sizes, expected):
    loss = Requesting(*sizes)
    assert diagnostics(loss, [0, 0, 0]) == pytest.approx(expected)
    assert loss.retrieves is bool(expected)


def test_queries_without_a_class_request_no_positives():
    assert diagnostics(Requesting(2, 0), [1, 0, -1])["valid"] == 3 / 4
    result = diagnostics(Requesting(2, 0), [-1, -1, -1], masked_context(3, 2, 2))
    assert result == dict(valid=0.0, sim=0.0)


@pytest.mark.parametrize("width", [0, 2])
def test_the_mean_similarity_of_no_rows_is_zero(width):
    assert float(mean_similarity(masked_context(3, width, 4))) == 0.0


def test_valid_queries_count_unless_a_loss_overrides_it():
    logits, valid = torch.tensor([[3.0], [torch.nan]]), torch.tensor([True, False])
    queries = Queries(logits, logits, valid=valid)
    assert torch.equal(Requesting(0, 0).counted(queries), valid)
    assert float(mean_loss(Requesting(0, 0), queries)) == 3.0


@given(st.integers(1, 40), st.integers(0, 2**20))
def test_nearest_rows_are_those_of_the_whole_bank(count, seed):
    rows, query = bank(seed), bank(seed + 1)
    contexts = TorchRetriever().search(rows, query, count, count, exclude_same_id=False)
    near = nearest_rows(*contexts, count)
    expected = (query.features @ rows.features.T).sort(dim=1, descending=True).values[:, :count]
    assert torch.allclose(near.similarity[:, : expected.shape[1]], expected, atol=1e-6)
    assert near.mask.sum(dim=1).tolist() == [min(count, len(rows))] * len(query)
    for name in ("similarity", "logits"):
        assert not getattr(near, name)[~near.mask].any()
    assert torch.equal(near.logits[near.mask], rows.logits[near.indices[near.mask]])


def test_masked_rows_come_last_however_dissimilar_the_valid_ones_are():
    masked = masked_context(1, 2, CLASSES)
    mask = torch.ones(1, 2, dtype=torch.bool)
    indices = torch.tensor([[4, 7]])
    valid = Context(torch.tensor([[-0.5, -0.9]]), torch.ones(1, 2, CLASSES), mask, indices)
    for pair in ((masked, valid), (valid, masked)):
        near = nearest_rows(*pair, 3)
        assert near.indices.tolist() == [[4, 7, -1]] and near.mask.tolist() == [[True, True, False]]
    assert nearest_rows(masked, masked, 9).mask.shape == (1, 4)
    assert nearest_rows(valid.best(0), valid.best(0), 9).mask.shape == (1, 0)


@pytest.mark.parametrize("loss", [MembershipLoss(), RelationalLoss()])
def test_queries_with_a_row_of_any_class_count(loss):
    logits, masked = torch.zeros(3, CLASSES), masked_context(3, 1, CLASSES)
    only_first = Context(*(t.clone() for t in vars(masked).values()))
    only_first.mask[0] = True
    for positives, negatives in ((masked, only_first), (only_first, masked)):
        queries = Queries(logits, logits, positives=positives, negatives=negatives)
        assert loss.counted(queries).tolist() == [True, False, False]


def test_divergence_by_hand():
    log_p, log_q = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    expected = torch.tensor(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert torch.allclose(kl_divergence(log_p, log_q), expected)
    assert torch.allclose(kl_divergence(log_p[:, None], log_q[:, None], dim=0), expected)


def test_masked_outcomes_are_left_out_and_may_hold_anything():
    x = torch.tensor([[1.0, torch.nan, 0.0], [torch.inf, torch.nan, 1.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    result = masked_log_softmax(x, mask)
    first, last = torch.tensor([1.0, 0.0]).log_softmax(0).tolist()
    assert torch.equal(result, torch.tensor([[first, 0.0, last], [0.0, 0.0, 0.0]]))
    (gradient,) = torch.autograd.grad(result[0, 0], x)
    assert torch.isfinite(gradient).all() and not gradient[~mask].any()


def test_numbers_that_vary_by_rounding_alone_are_not_divided():
    x = torch.tensor([[3.3, 3.3 + 3e-7], [3.3, 3.4], [1e-9, 2e-9], [0.0, 0.0]])
    centered = x - x.mean(dim=1, keepdim=True)
    size = centered.norm(dim=1, keepdim=True)
    result = divide_by_size(centered, size, x.norm(dim=1, keepdim=True))
    assert torch.equal(result[[0, 3]], centered[[0, 3]])
    assert torch.allclose(result[[1, 2]].norm(dim=1), torch.ones(2))
