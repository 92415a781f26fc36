"""Peers under autocast, with gradient scalers of their own that a resumed run takes up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmickd.teachers.peer import Peer
from tests.helpers import toys
from tests.helpers.cpu_amp import CpuAmpOptimWrapper
from tests.helpers.learning_runs import LEVELS, online, peers_of, wider
from tests.helpers.network_watch import watched
from tests.helpers.tiny import history, run

SGD = dict(type="SGD", lr=0.02, momentum=0.9)


def own_wrapper(**options: Any) -> dict[str, Any]:
    return dict(type=CpuAmpOptimWrapper.__name__, optimizer=SGD, **options)


def mixed(scope: str, level: Any, iters: int, **teacher: Any) -> Config:
    cfg = online(scope, level, iters, **teacher)
    cfg.optim_wrapper = own_wrapper()
    return cfg


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_peers_run_under_autocast(scope: str, level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[dict[str, torch.dtype]] = []
    learn = Peer.learn

    def spy(self: Peer, losses: dict[str, torch.Tensor]) -> Any:
        learnt.append({name: value.dtype for name, value in losses.items() if "loss" in name})
        return learn(self, losses)

    monkeypatch.setattr(Peer, "learn", spy)
    runner, watch = watched(mixed(scope, level, 4, cfg=[wider(scope), None]))
    assert watch.logits == {name: {torch.bfloat16} for name in ("student", "peer0", "peer1")}
    assert len(learnt) == 2 * 4
    assert all(set(one.values()) == {torch.float32} and len(one) >= 4 for one in learnt)
    for name in ("student", "peer0", "peer1"):
        assert {value.dtype for value in watch.weights[name][-1].values()} == {torch.float32}
        assert watch.moved(name) == [True] * 4

    full = run(online(scope, level, 4, cfg=[wider(scope), None]))
    task = "loss_ce" if scope == "mmpretrain" else "decode.loss_ce"
    for loss in (f"{owner}{term}" for owner in ("", "peer0.", "peer1.") for term in (task, "loss")):
        values = history(runner, loss)
        assert np.isfinite(values).all()
        # the same weights in the first step, the logits rounded to 8 bits
        first = history(full, loss)[0]
        assert values[0] != first and values[0] == pytest.approx(first, rel=0.05), loss


def test_resumed_with_its_scaler_bit_for_bit() -> None:
    def cfg(iters: int) -> Config:
        own = own_wrapper(init_scale=64.0)
        return mixed("mmpretrain", "image", iters, cfg=wider("mmpretrain"), optim_wrapper=own)

    whole = run(cfg(5))
    broken_off = cfg(3)
    stopped = toys.checkpoint_of(run(broken_off))
    broken_off.train_cfg.max_iters, broken_off.resume = 5, True
    resumed = run(broken_off)
    for part in ("state_dict", "optimizer"):
        ended, wanted = (toys.checkpoint_of(one)[part] for one in (resumed, whole))
        assert toys.same_state(dict(ended), dict(wanted)), part
        ended, wanted = (peers_of(one)[0][part] for one in (resumed, whole))
        assert toys.same_state(dict(ended), dict(wanted)), part
    assert history(resumed, "peer0.loss")[-2:] == history(whole, "peer0.loss")[-2:]
    # doubled after 2 and 4 steps, each from its own beginning; 3 steps leave one half way
    for saved, scale in ((stopped, 2), (toys.checkpoint_of(resumed), 4)):
        peer, student = saved["mmickd"]["peers"][0]["optimizer"], saved["optimizer"]
        for state, begin in ((peer, 64.0), (student, 8.0)):
            assert state["loss_scaler"]["scale"] == begin * scale
            assert state["loss_scaler"]["_growth_tracker"] == 1


def test_an_overflow_is_that_of_one_network() -> None:
    """The peer's scale is too large at first: its step is left out, the student's is not."""
    too_large = own_wrapper(init_scale=2.0**127)
    runner, watch = watched(mixed("mmpretrain", "image", 3, optim_wrapper=too_large))
    assert watch.moved("student") == [True] * 3
    assert watch.moved("peer0")[0] is False
    (peer,), student = peers_of(runner), toys.checkpoint_of(runner)
    assert peer["optimizer"]["loss_scaler"]["scale"] < 2.0**127
    assert student["optimizer"]["loss_scaler"]["scale"] == 16.0
    assert all(np.isfinite(value).all() for value in watch.weights["peer0"][-1].values())


@pytest.mark.parametrize("mixed_one", ["student", "peer0"])
def test_each_network_has_the_precision_of_its_own_optimizer(mixed_one: str) -> None:
    wrappers = dict(student=dict(optimizer=SGD), peer0=dict(optimizer=SGD))
    wrappers[mixed_one] = own_wrapper()
    cfg = online("mmpretrain", "image", 2, optim_wrapper=wrappers["peer0"])
    cfg.optim_wrapper = wrappers["student"]
    _, watch = watched(cfg)
    wanted = dict(student={torch.float32}, peer0={torch.float32})
    wanted[mixed_one] = {torch.bfloat16}
    assert watch.logits == wanted
