"""Queries by what the bank holds."""

import torch

from mmickd.banks import MemoryBank
from mmickd.retrieval.stored_query import StoredQuery
from mmickd.structures import Samples
from tests.helpers.retrieval_cases import samples


def test_known_images_get_their_row_and_others_keep_their_own():
    g = torch.Generator().manual_seed(0)
    rows = samples(g, 12, 5, 3, 1, dtype=torch.float16)
    labels = torch.arange(12) % 3
    bank = MemoryBank(Samples(rows.features, rows.logits, labels, torch.arange(12) // 3 + 100), 3)
    query = samples(g, 6, 5, 3, 1)
    ids = torch.tensor([100, 103, 102, 999, -1, 101])
    wanted = torch.tensor([2, 0, 1, 1, 0, -1])
    asked = Samples(query.features, query.logits, wanted, ids)
    answer = StoredQuery(bank)(asked)
    for i in range(6):
        row = ((bank.ids == ids[i]) & (bank.labels == wanted[i])).nonzero()[:, 0]
        known = len(row) == 1 and int(ids[i]) >= 0 and int(wanted[i]) >= 0
        want = bank.features[row[0]].float() if known else query.features[i]
        assert torch.equal(answer.features[i], want)
    assert answer.features.dtype == torch.float32
    assert torch.equal(answer.ids, ids) and torch.equal(answer.labels, wanted)


def test_a_row_of_an_unknown_image_is_nobodys_view():
    g = torch.Generator().manual_seed(0)
    rows = samples(g, 4, 5, 2, 1)
    labels = torch.tensor([0, 0, 1, 1])
    bank = MemoryBank(Samples(rows.features, rows.logits, labels, torch.full((4,), -1)), 2)
    query = Samples(-rows.features, rows.logits, labels, torch.full((4,), -1))
    assert torch.equal(StoredQuery(bank)(query).features, query.features)
