"""Peers under autocast, each with its gradient scaler, which a resumed run restores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmickd.teachers.peer import Peer
from tests.helpers import toys
from tests.helpers.cpu_amp import CpuAmpOptimWrapper
from tests.helpers.learning_runs import LEVELS, online_config, saved_peers, wider
from tests.helpers.recorders import NetworkRecorder
from tests.helpers.tiny import history, resume, run

SGD = dict(type="SGD", lr=0.02, momentum=0.9)


def amp_wrapper(**options: Any) -> dict[str, Any]:
    return dict(type=CpuAmpOptimWrapper.__name__, optimizer=SGD, **options)


def mixed(scope: str, level: Any, iters: int, **teacher: Any) -> Config:
    cfg = online_config(scope, level, iters, **teacher)
    cfg.optim_wrapper = amp_wrapper()
    return cfg


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_peers_run_under_autocast(scope: str, level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loss_dtypes: list[dict[str, torch.dtype]] = []
    learn = Peer.learn

    def spy(self: Peer, losses: dict[str, torch.Tensor]) -> Any:
        loss_dtypes.append({name: value.dtype for name, value in losses.items() if "loss" in name})
        return learn(self, losses)

    monkeypatch.setattr(Peer, "learn", spy)
    recorder = NetworkRecorder()
    runner = run(mixed(scope, level, 4, cfg=[wider(scope), None]), recorder)
    assert recorder.logits == {name: {torch.bfloat16} for name in ("student", "peer0", "peer1")}
    assert len(loss_dtypes) == 2 * 4
    assert all(set(d.values()) == {torch.float32} and len(d) >= 4 for d in loss_dtypes)
    for name in ("student", "peer0", "peer1"):
        assert {value.dtype for value in recorder.weights[name][-1].values()} == {torch.float32}
        assert recorder.changed(name) == [True] * 4

    full = run(online_config(scope, level, 4, cfg=[wider(scope), None]))
    task = "loss_ce" if scope == "mmpretrain" else "decode.loss_ce"
    for loss in (f"{owner}{term}" for owner in ("", "peer0.", "peer1.") for term in (task, "loss")):
        values = history(runner, loss)
        assert np.isfinite(values).all()
        # the weights of the first step are the same, the logits are rounded to 8 bits
        first = history(full, loss)[0]
        assert values[0] != first and values[0] == pytest.approx(first, rel=0.05), loss


def test_resuming_restores_the_scaler_bit_for_bit() -> None:
    def config(iters: int) -> Config:
        wrapper = amp_wrapper(init_scale=64.0)
        return mixed("mmpretrain", "image", iters, cfg=wider("mmpretrain"), optim_wrapper=wrapper)

    whole = run(config(5))
    cfg = config(3)
    stopped = toys.checkpoint_of(run(cfg))
    resumed = resume(cfg, 5)
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(*(toys.checkpoint_of(r)[part] for r in (resumed, whole))), part
        assert toys.same_state(*(saved_peers(r)[0][part] for r in (resumed, whole))), part
    assert history(resumed, "peer0.loss")[-2:] == history(whole, "peer0.loss")[-2:]
    # scales double after 2 and 4 steps
    for checkpoint, scale in ((stopped, 2), (toys.checkpoint_of(resumed), 4)):
        peer, student = checkpoint["mmickd"]["peers"][0]["optimizer"], checkpoint["optimizer"]
        for state, init_scale in ((peer, 64.0), (student, 8.0)):
            assert state["loss_scaler"]["scale"] == init_scale * scale
            assert state["loss_scaler"]["_growth_tracker"] == 1


def test_an_overflow_concerns_one_network() -> None:
    """The peer's scale is too large at first: its step is skipped, the student's is not."""
    too_large, recorder = amp_wrapper(init_scale=2.0**127), NetworkRecorder()
    runner = run(mixed("mmpretrain", "image", 3, optim_wrapper=too_large), recorder)
    assert recorder.changed("student") == [True] * 3
    assert recorder.changed("peer0")[0] is False
    (peer,), student = saved_peers(runner), toys.checkpoint_of(runner)
    assert peer["optimizer"]["loss_scaler"]["scale"] < 2.0**127
    assert student["optimizer"]["loss_scaler"]["scale"] == 16.0
    assert all(np.isfinite(value).all() for value in recorder.weights["peer0"][-1].values())


@pytest.mark.parametrize("mixed_name", ["student", "peer0"])
def test_the_precision_of_a_network_is_that_of_its_optimizer(mixed_name: str) -> None:
    wrappers = dict(student=dict(optimizer=SGD), peer0=dict(optimizer=SGD))
    wrappers[mixed_name] = amp_wrapper()
    cfg = online_config("mmpretrain", "image", 2, optim_wrapper=wrappers["peer0"])
    cfg.optim_wrapper = wrappers["student"]
    recorder = NetworkRecorder()
    run(cfg, recorder)
    expected = dict(student={torch.float32}, peer0={torch.float32})
    expected[mixed_name] = {torch.bfloat16}
    assert recorder.logits == expected
