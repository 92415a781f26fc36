"""Runs with peers: every network distils from all others, and runs are resumed exactly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import Runner

from mmickd.banks import QueueBank
from tests.helpers import toys
from tests.helpers.commands import ROOT, command
from tests.helpers.learning_runs import LEVELS, online_config, saved_peers, stop_message, wider
from tests.helpers.ranks import on_ranks, read_rank_config
from tests.helpers.recorders import Callback, bank_states, parameters
from tests.helpers.tiny import (
    dump,
    history,
    resume,
    run,
    with_teacher,
)


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_student_and_peers_learn(scope: str, level: Any) -> None:
    runner = run(online_config(scope, level, cfg=[wider(scope), None]))
    suffixes = [f"_{name}" for name in level] if isinstance(level, list) else [""]
    task = "loss_ce" if scope == "mmpretrain" else "decode.loss_ce"
    for owner in ("", "peer0.", "peer1."):
        values = {name: history(runner, f"{owner}{name}") for name in (task, "loss_kd", "loss")}
        assert all(value > 0 for losses in values.values() for value in losses)
        for suffix in suffixes:
            picd = history(runner, f"{owner}loss_picd{suffix}")
            assert picd[0] == 0 and all(value > 0 for value in picd[1:])
    wide, equal = (peer["state_dict"] for peer in saved_peers(runner))
    assert wide.keys() >= equal.keys()
    assert toys.checkpoint_of(runner)["state_dict"].keys() == runner.model.state_dict().keys()


def test_weight_zero_is_the_student_without_the_hook() -> None:
    """The dropout of a peer draws from the peer's generator, not from the student's."""
    plain, cfg = (toys.segmenter().student(train_cfg__max_iters=4) for _ in range(2))
    expected = toys.checkpoint_of(run(plain))["state_dict"]
    runner = run(with_teacher(cfg, dict(type="OnlineTeacher"), losses=toys.OFF))
    assert toys.same_state(toys.checkpoint_of(runner)["state_dict"], expected)
    losses = history(runner, "peer0.decode.loss_ce")
    assert len(set(losses)) == 4


def test_an_undistilled_peer_trains_like_a_student() -> None:
    """Weights of 0 leave only the peer's scheduler and momentum."""
    cfg = online_config("mmpretrain", "image", iters=5)
    cfg.custom_hooks[0].losses = toys.OFF
    cfg.param_scheduler = [dict(type="MultiStepLR", milestones=[2], gamma=0.0, by_epoch=False)]
    cfg.optim_wrapper.optimizer.momentum = 0.0

    def peer_parameters(runner: Runner) -> dict[str, torch.Tensor]:
        return parameters(toys.hook_of(runner).distiller.teacher.peers[0].network)

    callback = Callback(after_train_iter=peer_parameters)
    run(cfg, callback)
    states = callback.results
    assert not toys.same_state(states[0], states[1])
    # the rate is 0 from the third step on
    assert toys.same_state(states[2], states[3]) and toys.same_state(states[3], states[4])


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_a_resumed_run_continues_bit_for_bit(scope: str, level: Any) -> None:
    whole = run(online_config(scope, level, iters=5, cfg=wider(scope)))
    cfg = online_config(scope, level, iters=3, cfg=wider(scope))
    run(cfg)
    resumed = resume(cfg, 5)
    result, expected = toys.checkpoint_of(resumed), toys.checkpoint_of(whole)
    assert toys.same_state(result["state_dict"], expected["state_dict"])
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(saved_peers(resumed)[0][part], saved_peers(whole)[0][part])
    assert toys.same_state(result["mmickd"]["banks"], expected["mmickd"]["banks"])
    assert history(resumed, "peer0.loss")[-2:] == history(whole, "peer0.loss")[-2:]


def train_rank(path: Path) -> dict[str, Any]:
    """Return parameters and queues at the end of a run on this rank."""

    def state(runner: Runner) -> dict[str, Any]:
        teacher = toys.hook_of(runner).distiller.teacher
        assert all(isinstance(bank, QueueBank) for bank in toys.banks_of(runner).values())
        networks = [runner.model.module, *(peer.network for peer in teacher.peers)]
        parameters_by_number = dict(enumerate(parameters(network) for network in networks))
        return dict(networks=parameters_by_number, banks=bank_states(runner))

    callback = Callback(after_train_iter=state)
    run(read_rank_config(path), callback)
    return callback.results[-1]


@pytest.mark.parametrize("accumulative_counts", [1, 2])
def test_ranks_hold_equal_peers_and_queues(accumulative_counts: int) -> None:
    cfg = online_config("mmseg", ["pixel", "region"], iters=4, cfg=[wider("mmseg"), None])
    cfg.optim_wrapper.accumulative_counts = accumulative_counts
    first, second = on_ranks(2, train_rank, dump(cfg, toys.new_folder() / "run.py"))
    for part in ("networks", "banks"):
        assert toys.same_state(first[part], second[part]), part
    counts = [int(state["counts"].sum()) for state in first["banks"].values()]
    assert len(counts) == 6 and min(counts) > 0


def test_peers_are_validated_and_exported() -> None:
    cfg = online_config("mmpretrain", "image", cfg=wider("mmpretrain"), validate=True)
    runner = run(cfg)
    scalars = runner.message_hub.log_scalars
    (student,), (peer,) = (scalars[f"val/{n}accuracy/top1"].data[0] for n in ("", "peer0."))
    assert 0 <= student <= 100 and 0 <= peer <= 100
    checkpoint = (Path(runner.work_dir) / "last_checkpoint").read_text()
    out = toys.new_folder() / "peer.pth"
    command(sys.executable, ROOT / "tools/export_peer.py", checkpoint, out).ok()
    exported = torch.load(out)
    assert toys.same_state(exported["state_dict"], saved_peers(runner)[0]["state_dict"])


def test_peers_follow_the_seed_of_the_run() -> None:
    def first_losses(seed: int) -> list[float]:
        cfg = online_config("mmpretrain", "image", iters=1, num_peers=2)
        cfg.randomness = dict(seed=seed)
        runner = run(cfg)
        return [history(runner, f"{owner}loss_ce")[0] for owner in ("", "peer0.", "peer1.")]

    losses = [*first_losses(1), *first_losses(2)]
    assert len(set(losses)) == 6
    assert first_losses(1) == losses[:3]


def test_flexible_runner_is_refused() -> None:
    cfg = online_config("mmpretrain", "image")
    cfg.runner_type, cfg.strategy = "FlexibleRunner", dict(type="SingleDeviceStrategy")
    assert "FlexibleRunner" in stop_message(cfg)
