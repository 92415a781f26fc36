"""FaissRetriever gives TorchRetriever's answers."""

import copy
import pickle
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval import FaissRetriever, TorchRetriever, faiss_search
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError, OptionError
from tests.helpers.retrieval_cases import Case, cases, check_same_structure, run, samples

faiss = pytest.importorskip("faiss")


def check_equal(got, want, bank):
    check_same_structure(got, bank, *want.mask.shape)
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
    """The own class is nearer: the negatives must be found behind it."""
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


@pytest.mark.parametrize("gpu", [-1, True, "0", "cuda", 1.0])
def test_what_is_no_gpu_is_refused(gpu):
    with pytest.raises(OptionError, match=r"^gpu=.*'auto'"):
        FaissRetriever(gpu=gpu)
    with pytest.raises(OptionError, match="growth"):
        FaissRetriever(growth=1)


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="faiss sees a GPU")
def test_a_gpu_that_faiss_cannot_use_is_refused():
    with pytest.raises(OptionError, match=r"^gpu=0:.*gpu=None.*TorchRetriever"):
        FaissRetriever(gpu=0)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_auto_searches_a_bank_on_the_cpu(case):
    for a, b in zip(run(FaissRetriever("auto"), case), run(TorchRetriever(), case), strict=True):
        check_equal(a, b, case.bank)


def knn_by_faiss_cpu(queries, rows, k):
    """Stand-in for ``faiss.knn_gpu`` on the CPU, with the same demands on its arguments."""
    assert queries.dtype == rows.dtype and k <= min(len(rows), faiss_search.DEEPEST_ON_GPU)
    assert queries.is_contiguous() and rows.is_contiguous()
    product = faiss.METRIC_INNER_PRODUCT
    found = faiss.knn(queries.float().numpy(), rows.float().numpy(), k, metric=product)
    return tuple(torch.from_numpy(part) for part in found)


class GpuPathOnCpu(FaissRetriever):
    def _search(self, device):
        return faiss_search.GpuSearch(torch.device("cpu"), knn_by_faiss_cpu)


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 200), st.sampled_from([1, 3, 2048]), st.booleans())
def test_the_slices_of_the_gpu_path_equal_torch(case, elements, deepest, half_queries):
    """Blocks cut classes and images; searches that are too deep are torch's."""
    if half_queries:
        case.query = replace(case.query, features=case.query.features.half())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_search, "BLOCK_ELEMENTS", elements)
        patch.setattr(faiss_search, "DEEPEST_ON_GPU", deepest)
        got = run(GpuPathOnCpu(), case)
    for a, b in zip(got, run(TorchRetriever(), case), strict=True):
        check_equal(a, b, case.bank)


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_bank_in_fp16_is_copied_only_where_the_queries_are_not_fp16(is_exact):
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 30, 6, 3, 8, dtype=torch.float16), 3)
    queries = samples(g, 4, 6, 3, 8).features
    queries = queries.half().float() if is_exact else queries
    search = faiss_search.GpuSearch(torch.device("cpu"), knn_by_faiss_cpu)
    ((_, block),) = search.blocks(bank, queries)
    assert (block.data_ptr() == bank.features.data_ptr()) == is_exact
    assert block.dtype == (torch.float16 if is_exact else torch.float32)


@pytest.mark.parametrize("retriever", [FaissRetriever, GpuPathOnCpu])
def test_more_rows_of_the_own_image_than_are_wanted(retriever):
    """The nearest rows are all of the own image, in the own class and in the others."""
    g = torch.Generator().manual_seed(3)
    near = torch.nn.functional.normalize(torch.randn(40, 6, generator=g) * 0.1 + 1.0, dim=1)
    rows = Samples(
        torch.cat([near, -near[:20]]), torch.randn(60, 3, generator=g),
        torch.arange(60) % 3, torch.tensor([7] * 40 + list(range(10, 30))),
    )  # fmt: skip
    bank = MemoryBank(rows, 3)
    case = Case(bank, rows[:6], 3, 5, True, None)
    got, want = run(retriever(), case), run(TorchRetriever(), case)
    for a, b in zip(got, want, strict=True):
        assert bool(a.mask.all())
        check_equal(a, b, bank)


@pytest.mark.parametrize("retriever", [FaissRetriever, GpuPathOnCpu])
def test_features_that_are_nan_find_nothing(retriever):
    g = torch.Generator().manual_seed(0)
    bank, query = MemoryBank(samples(g, 30, 6, 3, 8), 3), samples(g, 2, 6, 3, 8)
    query.features[0] = torch.nan
    for context in run(retriever(), Case(bank, query, 3, 3, False, None)):
        assert context.mask.any(dim=1).tolist() == [False, True]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_a_copy_searches_anew(copied):
    g = torch.Generator().manual_seed(0)
    case = Case(MemoryBank(samples(g, 30, 6, 3, 8), 3), samples(g, 4, 6, 3, 8), 3, 3, True, None)
    retriever = FaissRetriever("auto", growth=3)
    want = run(retriever, case)
    other = copied(retriever)
    assert (other.gpu, other.growth) == ("auto", 3) and not other._searches
    for a, b in zip(run(other, case), want, strict=True):
        assert torch.equal(a.indices, b.indices)


def test_the_settings_of_faiss_stay():
    before = faiss.cvar.distance_compute_blas_threshold
    test_another_bank_is_noticed()
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_built_from_a_config():
    assert isinstance(RETRIEVERS.build(dict(type="FaissRetriever", growth=2)), FaissRetriever)
    assert RETRIEVERS.build(dict(type="TorchRetriever", chunk_size=3)).chunk_size == 3
