"""FaissRetriever gives TorchRetriever's answers."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval import FaissRetriever, TorchRetriever
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError, OptionError
from tests.helpers.retrieval_cases import Case, cases, check_form, run, samples

pytest.importorskip("faiss")


def check_equal(got, want, bank):
    check_form(got, bank, *want.mask.shape)
    assert torch.equal(got.mask, want.mask)
    assert torch.allclose(got.similarity, want.similarity, atol=1e-5)
    for i in range(len(want.mask)):
        found = want.similarity[i][want.mask[i]]
        if len(found) and bool((found.diff().abs() > 1e-5).all()):
            n = len(found) - 1  # the last may have a rival just outside
            assert torch.equal(got.indices[i, :n], want.indices[i, :n])


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(2, 5))
def test_equals_torch(case, growth):
    want = run(TorchRetriever(), case)
    got = run(FaissRetriever(growth=growth), case)
    for a, b in zip(got, want, strict=True):
        check_equal(a, b, case.bank)


def test_negatives_behind_a_large_near_class():
    """The own class fills the first depths: the search must go on until the negatives come."""
    g = torch.Generator().manual_seed(1)
    near = torch.nn.functional.normalize(torch.randn(500, 8, generator=g) * 0.1 + 1.0, dim=1)
    far = -near[:20]
    rows = Samples(
        torch.cat([near, far]), torch.randn(520, 2, generator=g),
        torch.tensor([0] * 500 + [1] * 20), torch.arange(520),
    )  # fmt: skip
    bank = MemoryBank(rows, 2)
    case = Case(bank, bank.samples[::100], 5, 7, True, None)
    want, got = run(TorchRetriever(), case), run(FaissRetriever(), case)
    assert bool(got[1].mask.all())
    for a, b in zip(got, want, strict=True):
        check_equal(a, b, bank)


def test_another_bank_is_noticed():
    g = torch.Generator().manual_seed(1)
    retriever = FaissRetriever()
    for _ in range(3):
        bank = MemoryBank(samples(g, 30, 6, 3, 8), 3)
        case = Case(bank, samples(g, 4, 6, 3, 8), 3, 3, True, None)
        check_equal(run(retriever, case)[0], run(TorchRetriever(), case)[0], bank)


def test_missing_faiss_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ICKDError, match=r"mmickd\[faiss\]"):
        FaissRetriever()


@pytest.mark.parametrize("gpu", [0, 63, True, "0"])
def test_a_gpu_is_not_searched_on(gpu):
    FaissRetriever(gpu=None)
    with pytest.raises(OptionError, match=r"^gpu=.*on the CPU here.*TorchRetriever"):
        FaissRetriever(gpu=gpu)
    with pytest.raises(OptionError, match="growth"):
        FaissRetriever(growth=1)


def test_built_from_a_config():
    assert isinstance(RETRIEVERS.build(dict(type="FaissRetriever", growth=2)), FaissRetriever)
    assert RETRIEVERS.build(dict(type="TorchRetriever", chunk_size=3)).chunk_size == 3
