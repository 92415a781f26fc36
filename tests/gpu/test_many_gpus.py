"""Distributed training by NCCL and what only runs on GPUs: `make gpu-test` on two of them or more.

MMICKD_TEST_DEVICE=cpu runs the tests on the CPU (gloo; SyncBN becomes BN), to check them.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.commands import ROOT, command
from tests.helpers.rank_dump import read_rank_dumps, with_rank_dump
from tests.helpers.tiny import history, run
from tests.runs.compatibility.ranks import two_rank_config

DEVICE = os.environ.get("MMICKD_TEST_DEVICE", "cuda")
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]
two_gpus = pytest.mark.skipif(
    DEVICE == "cuda" and torch.cuda.device_count() < 2, reason="needs two CUDA devices"
)


def launch(cfg: Config) -> list[dict[str, Any]]:
    """Train two processes with ``tools/dist_train.sh``; returns the state of each rank."""
    file = with_rank_dump(cfg)
    command(
        "bash", ROOT / "tools/dist_train.sh", file, "2", cwd=file.parent, timeout=500,
        PYTHONPATH=str(ROOT), MMICKD_CACHE_DIR=str(file.parent),
    ).ok()  # fmt: skip
    return read_rank_dumps(cfg)


def sync_bn(cfg: Config) -> None:
    if cfg.default_scope == "mmseg":
        for part in (cfg.model.backbone, cfg.model.decode_head):
            part.norm_cfg = dict(type="SyncBN", requires_grad=True)
    else:
        cfg.sync_bn = "torch"


@two_gpus
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_sync_bn(scope: str, amp: bool) -> None:
    if amp and DEVICE == "cpu":
        pytest.skip("AmpOptimWrapper needs a GPU")
    cfg = two_rank_config(scope)
    sync_bn(cfg)
    if amp:
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    ranks = launch(cfg)
    for rank in ranks:
        assert rank["world_size"] == 2
        assert torch.isfinite(torch.tensor(rank["losses"]["loss_kd"])).all()
        for part in ("banks", "parameters"):
            assert toys.same_state(rank[part], ranks[0][part])


@two_gpus
@pytest.mark.parametrize("strategy", ["DDPStrategy", "FSDPStrategy"])
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_flexible_runner(scope: str, strategy: str) -> None:
    expected = launch(two_rank_config(scope))
    cfg = two_rank_config(scope)
    cfg.runner_type, cfg.strategy = "FlexibleRunner", dict(type=strategy)
    for result, reference in zip(launch(cfg), expected, strict=True):
        values = reference["losses"]["loss_kd"]
        assert result["losses"]["loss_kd"] == pytest.approx(values, rel=1e-2, abs=1e-4)


@pytest.mark.skipif(DEVICE == "cpu", reason="AmpOptimWrapper needs a GPU")
@pytest.mark.parametrize("changes", ["accumulate", "compile", "checkpoint", "ema"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_amp_together_with(changes: str, dtype: str) -> None:
    cfg = toys.classifier().distilled()
    cfg.optim_wrapper.update(type="AmpOptimWrapper", dtype=dtype)
    if changes == "accumulate":
        cfg.optim_wrapper.accumulative_counts = 2
    elif changes == "compile":
        cfg.compile = True
    elif changes == "checkpoint":
        cfg.model.backbone.with_cp = True
    else:
        cfg.custom_hooks.append(dict(type="EMAHook"))
    runner, full = run(cfg), run(toys.classifier().distilled())
    for name in ("loss_kd", "loss_picd", "loss_nicd", "loss"):
        values = history(runner, name)
        assert torch.isfinite(torch.tensor(values)).all()
        assert values[0] == pytest.approx(history(full, name)[0], rel=0.1, abs=1e-2)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
