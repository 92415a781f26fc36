"""Peers on a GPU with mmengine's mixed precision: loss scaling, generators and resuming."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.learning_runs import LEVELS, online_config, saved_peers, wider
from tests.helpers.recorders import NetworkRecorder
from tests.helpers.tiny import history, resume, run

DEVICE = os.environ.get("MMICKD_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cpu", reason="AmpOptimWrapper needs a GPU"),
]
DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16)
SGD = dict(type="SGD", lr=0.02, momentum=0.9)


def mixed(scope: str, level: Any, iters: int, dtype: str, **teacher: Any) -> Config:
    cfg = online_config(scope, level, iters, **teacher)
    cfg.optim_wrapper.update(type="AmpOptimWrapper", dtype=dtype, loss_scale=dict(init_scale=256.0))
    return cfg


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_peers_run_under_amp(scope: str, level: Any, dtype: str) -> None:
    cfg = mixed(scope, level, 4, dtype, cfg=[wider(scope), None])
    recorder = NetworkRecorder()
    runner = run(cfg, recorder)
    full = run(online_config(scope, level, 4, cfg=[wider(scope), None]))
    for name in ("student", "peer0", "peer1"):
        assert recorder.logits[name] == {DTYPES[dtype]}
        weights = recorder.weights[name][-1].values()
        assert all(w.dtype == torch.float32 and torch.isfinite(w).all() for w in weights)
        assert recorder.changed(name)[-1]
        loss = "loss" if name == "student" else f"{name}.loss"
        values = torch.tensor(history(runner, loss))
        assert torch.isfinite(values).all()
        assert float(values[0]) == pytest.approx(history(full, loss)[0], rel=0.1, abs=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_peer_has_its_own_scaler(dtype: str) -> None:
    """The peer's scale is too large at first and halves; the student's does not change."""
    wrapper = dict(
        type="AmpOptimWrapper", optimizer=SGD, dtype=dtype, loss_scale=dict(init_scale=2.0**127)
    )
    recorder = NetworkRecorder()
    runner = run(mixed("mmpretrain", "image", 3, dtype, optim_wrapper=wrapper), recorder)
    assert recorder.changed("peer0")[0] is False and recorder.changed("student") == [True] * 3
    (peer,) = saved_peers(runner)
    assert peer["optimizer"]["loss_scaler"]["scale"] < 2.0**127
    assert toys.checkpoint_of(runner)["optimizer"]["loss_scaler"]["scale"] == 256.0


@pytest.mark.parametrize("accumulative_counts", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_resumed_run_restores_the_scaler(
    dtype: str, accumulative_counts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)

    def config(iters: int) -> Config:
        cfg = mixed("mmpretrain", "image", iters, dtype, cfg=wider("mmpretrain"))
        cfg.optim_wrapper.loss_scale.growth_interval = 2
        cfg.optim_wrapper.accumulative_counts = accumulative_counts
        return cfg

    whole = run(config(8))
    cfg = config(4)
    run(cfg)
    resumed = resume(cfg, 8)
    peer, expected = saved_peers(resumed)[0], saved_peers(whole)[0]
    assert peer["optimizer"]["loss_scaler"] == expected["optimizer"]["loss_scaler"]
    assert peer["optimizer"]["loss_scaler"]["scale"] > 256.0
    assert history(resumed, "peer0.loss")[-4:] == pytest.approx(
        history(whole, "peer0.loss")[-4:], rel=1e-3
    )
    for name, value in peer["state_dict"].items():
        torch.testing.assert_close(value, expected["state_dict"][name], rtol=1e-3, atol=1e-4)
