"""Tests that need a GPU: `make gpu-test`.

MMICKD_TEST_DEVICE=cpu runs the tests that need no CUDA on the CPU, to check them.
"""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmickd.banks import MemoryBank
from mmickd.datasets import InMemoryDataset
from mmickd.losses import kd_loss, nicd_loss, picd_loss
from mmickd.losses.base import mean_loss
from mmickd.registry import LOSSES, registered
from mmickd.retrieval import FaissRetriever, TorchRetriever
from mmickd.structures import Context, Queries, Samples
from tests.helpers.retrieval_cases import Case, cases
from tests.helpers.retrieval_cases import run as run_case
from tests.helpers.tiny import (
    classifier_config,
    history,
    make_class_folders,
    make_scenes,
    run,
    save_teacher,
    segmenter_config,
    with_hook,
)

pytestmark = pytest.mark.gpu
DEVICE = os.environ.get("MMICKD_TEST_DEVICE", "cuda")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def random_samples(rows: int, seed: int, width: int = 64, classes: int = 10) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, width, generator=generator)
    return Samples(
        torch.nn.functional.normalize(features, dim=1),
        torch.randn(rows, classes, generator=generator) * 3,
        torch.randint(0, classes, (rows,), generator=generator),
        torch.randint(0, rows // 2, (rows,), generator=generator),
    )


def assert_same_contexts(
    result: tuple[Context, Context], expected: tuple[Context, Context], tolerance: float
) -> None:
    for context, reference in zip(result, expected, strict=True):
        assert context.similarity.device.type == torch.device(DEVICE).type
        assert torch.equal(context.mask.cpu(), reference.mask)
        torch.testing.assert_close(
            context.similarity.cpu(), reference.similarity, atol=tolerance, rtol=tolerance
        )
        # rows of the same similarity (within the tolerance) may be in another order
        assert (context.indices.cpu() == reference.indices).float().mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_retrieval_equals_the_cpu_reference(dtype: torch.dtype, chunk_size: int | None) -> None:
    rows, query = random_samples(3000, 0), random_samples(100, 1)
    rows = Samples(rows.features.to(dtype), rows.logits.to(dtype), rows.labels, rows.ids)
    bank = MemoryBank(rows, 10)
    expected = TorchRetriever().search(bank, query, 16, 32)
    result = TorchRetriever(chunk_size).search(bank.to(DEVICE), query.to(DEVICE), 16, 32)
    assert_same_contexts(result, expected, 1e-5)


def test_retrieval_ignores_autocast() -> None:
    bank, query = MemoryBank(random_samples(500, 0), 10).to(DEVICE), random_samples(20, 1)
    expected = TorchRetriever().search(bank, query.to(DEVICE), 8, 8)
    with torch.autocast(torch.device(DEVICE).type, dtype=torch.bfloat16):
        result = TorchRetriever().search(bank, query.to(DEVICE), 8, 8)
    assert torch.equal(result[0].similarity, expected[0].similarity)
    assert torch.equal(result[1].indices, expected[1].indices)


@pytest.mark.parametrize("gpu", [None, "auto", 0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("half_queries", [False, True])
def test_faiss_equals_torch(gpu: Any, dtype: torch.dtype, half_queries: bool) -> None:
    faiss_for(gpu)
    rows, query = random_samples(3000, 0), random_samples(100, 1)
    query = replace(query, features=query.features.half() if half_queries else query.features)
    query.labels[:3] = -1
    bank = MemoryBank(replace(rows, features=rows.features.to(dtype)), 10)
    retriever = FaissRetriever(gpu)
    for rows in ((16, 32), (None, 2500)):  # the second exceeds the largest k of faiss on a GPU
        expected = TorchRetriever().search(bank, query, *rows)
        result = retriever.search(bank.to(DEVICE), query.to(DEVICE), *rows)
        assert_same_contexts(result, expected, 1e-4)


def test_random_cases_of_faiss_on_the_gpu() -> None:
    faiss_for("auto")

    @settings(max_examples=100, deadline=None)
    @given(cases())
    def check(case: Case) -> None:
        expected = run_case(TorchRetriever(), case)
        case.bank, case.query = case.bank.to(DEVICE), case.query.to(DEVICE)
        for context, reference in zip(run_case(retriever, case), expected, strict=True):
            assert torch.equal(context.mask.cpu(), reference.mask)
            similarity = context.similarity.cpu()
            torch.testing.assert_close(similarity, reference.similarity, atol=1e-5, rtol=0)

    retriever = FaissRetriever("auto")
    check()


def test_a_copied_faiss_retriever_on_another_stream() -> None:
    faiss_for("auto")
    if DEVICE == "cpu":
        pytest.skip("no streams")
    bank, query = MemoryBank(random_samples(3000, 0), 10).to(DEVICE), random_samples(100, 1)
    retriever = FaissRetriever("auto")
    expected = retriever.search(bank, query.to(DEVICE), 16, 32)
    with torch.cuda.stream(torch.cuda.Stream()):
        result = copy.deepcopy(retriever).search(bank, query.to(DEVICE), 16, 32)
        torch.cuda.current_stream().synchronize()
    for context, reference in zip(result, expected, strict=True):
        assert torch.equal(context.indices, reference.indices)


def faiss_for(gpu: Any) -> None:
    """Skip the test if the installed faiss cannot search on this device."""
    faiss = pytest.importorskip("faiss")
    needs_gpu = gpu is not None and (gpu != "auto" or DEVICE != "cpu")
    if needs_gpu and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        pytest.skip("needs faiss-gpu and a GPU")


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_losses_equal_the_cpu_reference(dtype: torch.dtype) -> None:
    bank, query = MemoryBank(random_samples(2000, 0), 10), random_samples(64, 1)
    positives, negatives = TorchRetriever().search(bank, query, 16, 32)
    student = torch.randn(64, 10, generator=torch.Generator().manual_seed(2))

    def losses(device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        def move(context: Context) -> Context:
            return Context(*(t.to(device) for t in vars(context).values()))

        logits = student.to(device, dtype, copy=True).requires_grad_()
        teacher = query.logits.to(device, dtype)
        values = torch.stack(
            [
                kd_loss(logits, teacher),
                picd_loss(logits, move(positives)),
                nicd_loss(logits, teacher, move(negatives)),
            ]
        )
        values.sum().backward()
        assert logits.grad is not None
        return values.detach().cpu(), logits.grad.float().cpu()

    expected, result = losses("cpu", torch.float32), losses(DEVICE, dtype)
    assert result[0].dtype == torch.float32
    torch.testing.assert_close(result, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


LOSS_NAMES = [n for n, kind in registered(LOSSES).items() if kind.__module__.startswith("mmickd.")]


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_equals_the_cpu_reference_without_synchronising(name: str) -> None:
    bank, query = MemoryBank(random_samples(2000, 0), 10), random_samples(64, 1)
    contexts = TorchRetriever().search(bank, query, 32, 32)
    student = torch.randn(64, 10, generator=torch.Generator().manual_seed(2))

    def values(device: str) -> tuple[torch.Tensor, torch.Tensor]:
        logits = student.to(device, copy=True).requires_grad_()
        labels = query.labels.to(device)
        queries = Queries(
            logits,
            query.logits.to(device),
            logits,
            query.features.to(device),
            labels,
            labels != 3,
            *(Context(*(t.to(device) for t in vars(context).values())) for context in contexts),
            shape=(4, 16),
        )
        loss = LOSSES.build(dict(type=name))
        if device != "cpu":
            torch.cuda.set_sync_debug_mode("error")
        try:
            value = mean_loss(loss, queries)
            value.backward()
        finally:
            if device != "cpu":
                torch.cuda.set_sync_debug_mode("default")
        assert logits.grad is not None
        return value.detach().cpu(), logits.grad.cpu()

    torch.testing.assert_close(values(DEVICE), values("cpu"), atol=1e-5, rtol=1e-4)


@pytest.fixture(params=["classifier", "segmenter"])
def distilled(
    request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a tiny student and a function that adds the hook to it."""
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path / "cache"))
    if request.param == "classifier":
        data, config = make_class_folders(tmp_path / "data"), classifier_config
        options: dict[str, Any] = {}
    else:
        data, config = make_scenes(tmp_path / "data"), segmenter_config
        options = dict(level=["pixel", "region"], anchors=16)
    teacher = config(data, tmp_path / "teacher", width=16)
    checkpoint = save_teacher(teacher, tmp_path / "teacher.pth")
    student = config(data, tmp_path / "student", iters=6)
    return lambda **more: with_hook(student, teacher, checkpoint, **options, **more)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_under_amp(distilled: Any, dtype: str) -> None:
    if DEVICE == "cpu":
        pytest.skip("AmpOptimWrapper needs a GPU")
    cfg = distilled()
    cfg.optim_wrapper.update(type="AmpOptimWrapper", dtype=dtype)
    runner = run(cfg)
    full = run(distilled())
    for name in ("loss_kd", "loss"):
        values = history(runner, name)
        assert all(torch.isfinite(torch.tensor(values)))
        assert values[0] == pytest.approx(history(full, name)[0], rel=0.1, abs=1e-2)


def test_the_bank_is_on_the_device(distilled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmickd.training.distiller import Distiller

    devices: list[str] = []
    step = Distiller.step

    def spy(self: Distiller, *args: Any) -> Any:
        devices.extend(bank.device.type for bank in self.teacher.memory.banks.values())
        return step(self, *args)

    monkeypatch.setattr(Distiller, "step", spy)
    run(distilled())
    assert set(devices) == {torch.device(DEVICE).type}


def test_retrieval_does_not_synchronise_the_host(
    distilled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch warns of as many synchronisations with KD alone as with all terms."""
    if DEVICE == "cpu":
        pytest.skip("nothing to synchronise")
    from mmickd.training.distiller import Distiller

    counts: list[int] = []
    step = Distiller.step

    def counting(self: Distiller, *args: Any) -> Any:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as records:
            warnings.simplefilter("always")
            out = step(self, *args)
        torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(w.message) for w in records))
        return out

    monkeypatch.setattr(Distiller, "step", counting)
    run(distilled(losses=dict(picd=None, nicd=None)))
    kd_count = counts[-1]
    run(distilled())
    assert counts[-1] <= kd_count


def test_images_on_the_gpu_equal_those_of_the_cpu(tmp_path: Path) -> None:
    init_default_scope("mmpretrain")
    cfg = classifier_config(make_class_folders(tmp_path), tmp_path).train_dataloader.dataset
    cfg.pipeline.insert(1, dict(type="RandomCrop", crop_size=16, padding=4))
    batches = []
    for device in ("cpu", DEVICE):
        data = InMemoryDataset(copy.deepcopy(cfg), device=device)
        np.random.seed(0)
        (batch,) = DataLoader(data, batch_size=len(data), collate_fn=default_collate)
        assert batch["inputs"].device.type == torch.device(device).type
        batches.append(batch["inputs"].cpu())
    assert torch.equal(*batches)
