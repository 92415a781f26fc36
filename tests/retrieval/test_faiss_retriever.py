"""FaissRetriever has the results of TorchRetriever."""

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
from tests.helpers.retrieval_cases import Case, cases, check_context, run, samples

faiss = pytest.importorskip("faiss")


def check_equal(context, expected, bank):
    check_context(context, bank, *expected.mask.shape)
    assert torch.equal(context.mask, expected.mask)
    assert torch.allclose(context.similarity, expected.similarity, atol=1e-5)
    for i in range(len(expected.mask)):
        similarity = expected.similarity[i][expected.mask[i]]
        if len(similarity) and bool((similarity.diff().abs() > 1e-5).all()):
            n = len(similarity) - 1  # the last may be equal to the next one, within the rounding
            assert torch.equal(context.indices[i, :n], expected.indices[i, :n])


def check_equals_torch(retriever, case):
    for a, b in zip(run(retriever, case), run(TorchRetriever(), case), strict=True):
        check_equal(a, b, case.bank)


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(2, 5))
def test_equals_torch(case, growth):
    check_equals_torch(FaissRetriever(growth=growth), case)


def test_negatives_behind_a_large_near_class():
    """Every row of the query's class is more similar than the negatives."""
    g = torch.Generator().manual_seed(1)
    near = torch.nn.functional.normalize(torch.randn(500, 8, generator=g) * 0.1 + 1.0, dim=1)
    far = -near[:20]
    rows = Samples(
        torch.cat([near, far]), torch.randn(520, 2, generator=g),
        torch.tensor([0] * 500 + [1] * 20), torch.arange(520),
    )  # fmt: skip
    bank = MemoryBank(rows, 2)
    case = Case(bank, bank.samples[::100], 5, 7, True, None)
    assert bool(run(FaissRetriever(), case)[1].mask.all())
    check_equals_torch(FaissRetriever(), case)


def test_several_banks_are_searched_in_turn():
    g = torch.Generator().manual_seed(1)
    retriever = FaissRetriever()
    for _ in range(3):
        bank = MemoryBank(samples(g, 30, 6, 3, 8), 3)
        check_equals_torch(retriever, Case(bank, samples(g, 4, 6, 3, 8), 3, 3, True, None))


def test_the_error_without_faiss_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ICKDError, match=r"mmickd\[faiss\]"):
        FaissRetriever()


@pytest.mark.parametrize("gpu", [-1, True, "0", "cuda", 1.0])
def test_invalid_options_are_refused(gpu):
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
    check_equals_torch(FaissRetriever("auto"), case)


class GpuSearchOnCpu(faiss_search.GpuSearch):
    """GpuSearch without ``faiss.knn_gpu``, but with the same conditions on its arguments."""

    def __init__(self):
        super().__init__(torch.device("cpu"))

    def _knn(self, queries, rows, k):
        assert queries.dtype == rows.dtype and k <= min(len(rows), faiss_search.MAX_K_ON_GPU)
        assert queries.is_contiguous() and rows.is_contiguous()
        product = faiss.METRIC_INNER_PRODUCT
        result = faiss.knn(queries.float().numpy(), rows.float().numpy(), k, metric=product)
        return tuple(map(torch.from_numpy, result))


class GpuPathOnCpu(FaissRetriever):
    def _search(self, device):
        return GpuSearchOnCpu()


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 200), st.sampled_from([1, 3, 2048]), st.booleans())
def test_the_slices_of_the_gpu_path_equal_torch(case, elements, deepest, half_queries):
    """Classes and images are in several blocks; torch searches if k is too large for faiss."""
    if half_queries:
        case.query = replace(case.query, features=case.query.features.half())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_search, "BLOCK_ELEMENTS", elements)
        patch.setattr(faiss_search, "MAX_K_ON_GPU", deepest)
        check_equals_torch(GpuPathOnCpu(), case)


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_bank_in_fp16_is_copied_only_if_the_queries_are_not_exact_in_fp16(is_exact):
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 30, 6, 3, 8, dtype=torch.float16), 3)
    queries = samples(g, 4, 6, 3, 8).features
    queries = queries.half().float() if is_exact else queries
    ((_, block),) = GpuSearchOnCpu().blocks(bank, queries)
    assert (block.data_ptr() == bank.features.data_ptr()) == is_exact
    assert block.dtype == (torch.float16 if is_exact else torch.float32)


@pytest.mark.parametrize("retriever", [FaissRetriever, GpuPathOnCpu])
def test_more_rows_of_the_own_image_than_are_retrieved(retriever):
    """All of the nearest rows come from the query's image, in every class."""
    g = torch.Generator().manual_seed(3)
    near = torch.nn.functional.normalize(torch.randn(40, 6, generator=g) * 0.1 + 1.0, dim=1)
    rows = Samples(
        torch.cat([near, -near[:20]]), torch.randn(60, 3, generator=g),
        torch.arange(60) % 3, torch.tensor([7] * 40 + list(range(10, 30))),
    )  # fmt: skip
    bank = MemoryBank(rows, 3)
    case = Case(bank, rows[:6], 3, 5, True, None)
    assert all(bool(context.mask.all()) for context in run(retriever(), case))
    check_equals_torch(retriever(), case)


@pytest.mark.parametrize("retriever", [FaissRetriever, GpuPathOnCpu])
def test_for_nan_features_no_row_is_retrieved(retriever):
    g = torch.Generator().manual_seed(0)
    bank, query = MemoryBank(samples(g, 30, 6, 3, 8), 3), samples(g, 2, 6, 3, 8)
    query.features[0] = torch.nan
    for context in run(retriever(), Case(bank, query, 3, 3, False, None)):
        assert context.mask.any(dim=1).tolist() == [False, True]


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_a_copy_has_the_same_results(make_copy):
    g = torch.Generator().manual_seed(0)
    case = Case(MemoryBank(samples(g, 30, 6, 3, 8), 3), samples(g, 4, 6, 3, 8), 3, 3, True, None)
    retriever = FaissRetriever("auto", growth=3)
    expected = run(retriever, case)
    copied = make_copy(retriever)
    assert (copied.gpu, copied.growth) == ("auto", 3) and not copied._searches
    for a, b in zip(run(copied, case), expected, strict=True):
        assert torch.equal(a.indices, b.indices)


def test_the_settings_of_faiss_are_restored():
    before = faiss.cvar.distance_compute_blas_threshold
    test_several_banks_are_searched_in_turn()
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_built_from_a_config():
    assert isinstance(RETRIEVERS.build(dict(type="FaissRetriever", growth=2)), FaissRetriever)
    assert RETRIEVERS.build(dict(type="TorchRetriever", chunk_size=3)).chunk_size == 3
