"""The nearest rows of a bank, found among those of the own class and of the others."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mmickd.losses import MembershipLoss, RelationalLoss
from mmickd.losses.nearest import nearest_rows
from mmickd.retrieval import TorchRetriever
from mmickd.structures import Context
from tests.helpers.asking import queries
from tests.helpers.loss_cases import masked_context
from tests.helpers.steps import CLASSES, bank


@given(st.integers(1, 40), st.integers(0, 2**20))
def test_they_are_those_of_the_whole_bank(count, seed):
    rows, query = bank(seed), bank(seed + 1)
    found = TorchRetriever().search(rows, query, count, count, exclude_same_id=False)
    near = nearest_rows(*found, count)
    want = (query.features @ rows.features.T).sort(dim=1, descending=True).values[:, :count]
    assert torch.allclose(near.similarity[:, : want.shape[1]], want, atol=1e-6)
    assert near.mask.sum(dim=1).tolist() == [min(count, len(rows))] * len(query)
    for name in ("similarity", "logits"):
        assert not getattr(near, name)[~near.mask].any()
    assert torch.equal(near.logits[near.mask], rows.logits[near.indices[near.mask]])


def test_what_was_not_found_comes_last_however_unlike_the_others_are():
    nothing = masked_context(1, 2, CLASSES)
    found = Context(
        torch.tensor([[-0.5, -0.9]]),
        torch.ones(1, 2, CLASSES),
        torch.ones(1, 2, dtype=torch.bool),
        torch.tensor([[4, 7]]),
    )
    for pair in ((nothing, found), (found, nothing)):
        near = nearest_rows(*pair, 3)
        assert near.indices.tolist() == [[4, 7, -1]] and near.mask.tolist() == [[True, True, False]]
    assert nearest_rows(nothing, nothing, 9).mask.shape == (1, 4)
    assert nearest_rows(found.columns(0, 0), found.columns(0, 0), 9).mask.shape == (1, 0)


def test_queries_with_a_row_of_whatever_class_count():
    z = torch.zeros(3, CLASSES)
    some = masked_context(3, 1, CLASSES)
    only_first = Context(*(t.clone() for t in vars(some).values()))
    only_first.mask[0] = True
    for loss in (MembershipLoss(), RelationalLoss()):
        for pair in ((some, only_first), (only_first, some)):
            assert loss.counted(queries(z, z, *pair)).tolist() == [True, False, False]
