"""Peers that train beside the student: they learn, each from the others, and are resumed."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.banks import QueueBank
from mmickd.commands.launching import prepare_launch
from mmickd.teachers import OnlineTeacher
from tests.helpers import toys
from tests.helpers.commands import ROOT, command
from tests.helpers.learning_runs import LEVELS, peers_of, stopped, wider
from tests.helpers.learning_runs import online as config
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny import build, history, plain_config_text, run


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_student_and_peers_learn(scope: str, level: Any) -> None:
    runner = run(config(scope, level, cfg=[wider(scope), None]))
    suffixes = [f"_{name}" for name in level] if isinstance(level, list) else [""]
    task = "loss_ce" if scope == "mmpretrain" else "decode.loss_ce"
    for owner in ("", "peer0.", "peer1."):
        values = {name: history(runner, f"{owner}{name}") for name in (task, "loss_kd", "loss")}
        assert all(value > 0 for one in values.values() for value in one)
        for suffix in suffixes:
            picd = history(runner, f"{owner}loss_picd{suffix}")
            assert picd[0] == 0 and all(value > 0 for value in picd[1:])
    saved = peers_of(runner)
    assert len(saved) == 2 and saved[0]["state_dict"].keys() >= saved[1]["state_dict"].keys()
    assert toys.checkpoint_of(runner)["state_dict"].keys() == runner.model.state_dict().keys()


def test_weight_zero_is_the_student_without_the_hook() -> None:
    """Whatever the peers do: dropout of theirs draws from generators of their own."""
    cfg = toys.segmenter().student(train_cfg__max_iters=4)
    plain = toys.checkpoint_of(run(cfg))
    beside = copy.deepcopy(cfg)
    beside.work_dir = str(toys.new_folder())
    hook = dict(type="mmickd.ICKDHook", teacher=dict(type="OnlineTeacher"), losses=toys.OFF)
    beside.custom_hooks = [hook]
    runner = run(beside)
    assert toys.same_state(
        dict(toys.checkpoint_of(runner)["state_dict"]), dict(plain["state_dict"])
    )
    losses = history(runner, "peer0.decode.loss_ce")
    assert len(set(losses)) == 4


def test_a_peer_alone_trains_as_a_run_would() -> None:
    """Weights 0: the peer is the student of another seed, schedulers and momentum included."""
    cfg = config("mmpretrain", "image", iters=5)
    cfg.custom_hooks[0].losses = toys.OFF
    cfg.param_scheduler = [dict(type="MultiStepLR", milestones=[2], gamma=0.0, by_epoch=False)]
    cfg.optim_wrapper.optimizer.momentum = 0.0
    runner = build(cfg)
    states = []

    class Watch(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
            peer = toys.hook_of(runner).distiller.teacher.peers[0]
            states.append(parameters(peer.network))

    runner.register_hook(Watch())
    with plain_config_text():
        runner.train()
    assert not toys.same_state(states[0], states[1])
    # the rate is 0 from the third step on
    assert toys.same_state(states[2], states[3]) and toys.same_state(states[3], states[4])


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_a_resumed_run_goes_on_bit_for_bit(scope: str, level: Any) -> None:
    whole = run(config(scope, level, iters=5, cfg=wider(scope)))
    cfg = config(scope, level, iters=3, cfg=wider(scope))
    run(cfg)
    cfg.train_cfg.max_iters = 5
    cfg.resume = True
    resumed = run(cfg)
    assert toys.same_state(
        dict(toys.checkpoint_of(resumed)["state_dict"]),
        dict(toys.checkpoint_of(whole)["state_dict"]),
    )
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(dict(peers_of(resumed)[0][part]), dict(peers_of(whole)[0][part]))
    banks = [toys.checkpoint_of(one)["mmickd"]["banks"] for one in (resumed, whole)]
    assert toys.same_state(*banks)
    assert history(resumed, "peer0.loss")[-2:] == history(whole, "peer0.loss")[-2:]


def parameters(network: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def on_rank(path: str) -> dict[str, Any]:
    cfg = Config.fromfile(path)
    cfg.launcher = "pytorch"
    prepare_launch(cfg)
    runner = build(cfg)
    kept: dict[str, Any] = {}

    class Watch(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
            distiller = toys.hook_of(runner).distiller
            assert isinstance(distiller.teacher, OnlineTeacher)
            banks = toys.banks_of(runner)
            assert all(isinstance(bank, QueueBank) for bank in banks.values())
            networks = [runner.model.module, *(p.network for p in distiller.teacher.peers)]
            kept["networks"] = dict(enumerate(parameters(net) for net in networks))
            kept["banks"] = {n: copy.deepcopy(b.state_dict()) for n, b in banks.items()}

    runner.register_hook(Watch())
    with plain_config_text():
        runner.train()
    return kept


@pytest.mark.parametrize("accumulative_counts", [1, 2])
def test_ranks_hold_equal_peers_and_queues(accumulative_counts: int) -> None:
    path = toys.new_folder() / "run.py"
    cfg = config("mmseg", ["pixel", "region"], iters=4, cfg=[wider("mmseg"), None])
    cfg.optim_wrapper.accumulative_counts = accumulative_counts
    with plain_config_text():
        cfg.dump(path)
    first, second = on_ranks(2, on_rank, str(path))
    for part in ("networks", "banks"):
        assert toys.same_state(first[part], second[part]), part
    counts = [int(state["counts"].sum()) for state in first["banks"].values()]
    assert len(counts) == 6 and min(counts) > 0


def test_peers_are_validated_and_exported() -> None:
    cfg = config("mmpretrain", "image", cfg=wider("mmpretrain"), validate=True)
    runner = run(cfg)
    scalars = runner.message_hub.log_scalars
    (student,), (peer,) = (scalars[f"val/{n}accuracy/top1"].data[0] for n in ("", "peer0."))
    assert 0 <= student <= 100 and 0 <= peer <= 100
    checkpoint = (Path(runner.work_dir) / "last_checkpoint").read_text()
    out = toys.new_folder() / "peer.pth"
    command(sys.executable, ROOT / "tools/export_peer.py", checkpoint, out).ok()
    exported = torch.load(out)
    assert toys.same_state(exported["state_dict"], dict(peers_of(runner)[0]["state_dict"]))

    plain = toys.classifier().teacher_cfg.copy()  # the stock runner tests it as any checkpoint
    plain.work_dir, plain.load_from = str(toys.new_folder()), str(out)
    with plain_config_text():
        metrics = build(plain).test()
    assert metrics["accuracy/top1"] == pytest.approx(peer)
    again = command(sys.executable, ROOT / "tools/export_peer.py", checkpoint, out)
    assert again.code == 2 and "exists already" in again.text
    more = ["--peer", "1"]
    none = command(sys.executable, ROOT / "tools/export_peer.py", checkpoint, f"{out}x", *more)
    assert none.code == 2 and "there is no peer 1" in none.text


def test_peers_follow_the_seed_of_the_run() -> None:
    def first_losses(seed: int) -> list[float]:
        cfg = config("mmpretrain", "image", iters=1, num_peers=2)
        cfg.randomness = dict(seed=seed)
        runner = run(cfg)
        return [history(runner, f"{owner}loss_ce")[0] for owner in ("", "peer0.", "peer1.")]

    losses = [*first_losses(1), *first_losses(2)]
    assert len(set(losses)) == 6
    assert first_losses(1) == losses[:3]


def test_flexible_runner_is_refused() -> None:
    cfg = config("mmpretrain", "image")
    cfg.runner_type, cfg.strategy = "FlexibleRunner", dict(type="SingleDeviceStrategy")
    assert "leave FlexibleRunner and FSDP out" in stopped(cfg)
