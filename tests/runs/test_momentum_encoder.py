"""Queues whose rows come from moving averages of the networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.learning_runs import learning_config
from tests.helpers.recorders import Callback
from tests.helpers.tiny import build, history, resume, run

MOMENTUM = 0.25


def config(scope: str, iters: int, cfg: Any = None) -> Config:
    teacher = dict(type="OnlineTeacher", cfg=cfg)
    return learning_config(scope, None, iters, teacher, bank=dict(momentum=MOMENTUM))


class AverageCheck(Hook):
    """Asserts in each step that averages follow their networks and fill the queues."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.steps = 0

    def before_train(self, runner: Runner) -> None:
        self.teacher, self.banks = toys.hook_of(runner).distiller.teacher, toys.banks_of(runner)
        peers = [peer.network for peer in self.teacher.peers]
        self.networks = [runner.model, *peers]
        self.averages = [copy.deepcopy(dict(n.state_dict())) for n in self.networks]
        runner.model.register_forward_pre_hook(self._record_inputs, with_kwargs=True)

    def _record_inputs(self, model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs.get("mode") == "loss":
            self.inputs = kwargs["inputs"].clone()

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        share = max(MOMENTUM, 10 / (10 + self.steps))
        pairs = zip(self.networks, self.averages, self.teacher.encoders, strict=True)
        for number, (network, average, encoder) in enumerate(pairs):
            model = encoder.model
            # the newest rows of the queue are outputs of the average before this step
            previous = copy.deepcopy(model)
            previous.load_state_dict(average)
            features = previous.eval().extract_feat(self.inputs)[-1]
            features = torch.nn.functional.normalize(features)
            name = "student" if number == 0 else f"peer{number - 1}"
            bank = self.banks[f"{name}.image"]
            for row in features:
                assert float((bank.features - row).abs().amax(1).min()) < 1e-4
            for key, value in network.state_dict().items():
                if value.is_floating_point():
                    average[key] = average[key] + share * (value - average[key])
                else:
                    average[key] = value.clone()
            for key, value in model.state_dict().items():
                assert torch.allclose(value, average[key], atol=1e-5), key
        self.steps += 1


def test_rows_come_from_averages_that_follow_their_networks() -> None:
    check = AverageCheck()
    runner = run(config("mmpretrain", 6, [toys.classifier().teacher_cfg, None]), check)
    assert check.steps == 6 and len(check.teacher.encoders) == 3
    assert all(value > 0 for value in history(runner, "loss_picd")[1:])


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_a_resumed_run_goes_on_bit_for_bit(scope: str) -> None:
    wide = toys.toy(scope).teacher_cfg.to_dict()
    whole = run(config(scope, 5, wide))
    cfg = config(scope, 3, wide)
    run(cfg)
    checkpoints = [toys.checkpoint_of(runner) for runner in (whole, resume(cfg, 5))]
    assert toys.same_state(*(checkpoint["state_dict"] for checkpoint in checkpoints))
    result, expected = (checkpoint["mmickd"] for checkpoint in checkpoints)
    for encoders in zip(result["encoders"], expected["encoders"], strict=True):
        assert toys.same_state(*encoders)
    assert toys.same_state(result["banks"], expected["banks"])


def test_resuming_without_the_encoders_is_refused() -> None:
    cfg = config("mmpretrain", 2)
    cfg.custom_hooks[0].bank = dict()
    run(cfg)
    cfg.custom_hooks[0].bank = dict(momentum=MOMENTUM)
    with pytest.raises(ICKDError, match=r"0 encoders.* 2"):
        resume(cfg, 4)


@pytest.mark.parametrize(
    ("teacher", "momentum", "words"),
    [
        (dict(type="OnlineTeacher"), 0.0, "bank.momentum=0.0"),
        (dict(type="OnlineTeacher"), "slow", "bank.momentum='slow'"),
        (dict(type="SelfTeacher"), 0.1, "teacher.momentum"),
    ],
)
def test_bad_momentum(teacher: dict[str, Any], momentum: Any, words: str) -> None:
    cfg = config("mmpretrain", 2)
    cfg.custom_hooks[0].teacher = teacher
    cfg.custom_hooks[0].bank = dict(momentum=momentum)
    with pytest.raises(ICKDError, match=words):
        build(cfg)


def test_a_queue_is_filled_if_any_network_retrieves_from_it() -> None:
    """The student retrieves nothing, the peers do."""
    cfg = config("mmpretrain", 4)
    cfg.custom_hooks[0].losses = toys.KD_ONLY
    cfg.custom_hooks[0].teacher = dict(type="OnlineTeacher", num_peers=2, losses=dict())
    cfg.custom_hooks[0].bank = dict()
    runner = run(cfg)
    assert "train/loss_picd" not in runner.message_hub.log_scalars
    for name in ("peer0", "peer1"):
        assert all(value > 0 for value in history(runner, f"{name}.loss_picd")[1:])
    counts = [bank["counts"] for bank in toys.checkpoint_of(runner)["mmickd"]["banks"].values()]
    assert len(counts) == 3 and all(int(c.sum()) == 16 for c in counts)


@pytest.mark.parametrize("losses", [toys.OFF, dict()], ids=["off", "on"])
def test_averages_run_once_a_step_if_rows_are_retrieved(losses: dict[str, Any]) -> None:
    cfg = config("mmpretrain", 2, [None, None])
    cfg.custom_hooks[0].losses = losses
    calls = []

    def count_calls(runner: Runner) -> None:
        for encoder in toys.hook_of(runner).distiller.teacher.encoders:
            encoder.model.register_forward_hook(lambda *_: calls.append(1))

    runner = run(cfg, Callback(before_train=count_calls))
    assert runner.iter == 2 and len(calls) == (0 if losses else 2 * 3)
