"""Peers' optimizers: accumulation, clipping and scaled rates, as the run's own have them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmickd.structures import Batch
from mmickd.teachers.peer import Peer
from tests.helpers import toys
from tests.helpers.learning_runs import online, wider
from tests.helpers.network_watch import watched
from tests.helpers.tiny import build, history, plain_config_text, run

KD = dict(kd=dict(temperature=2.0, loss_weight=0.5), picd=None, nicd=None)


class Recorder(Hook):
    """A copy of the peer before the first step, and what each step gives it.

    Attributes:
        peer: the copy.
        steps: inputs, data samples and the student's logits of each.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.peer: nn.Module | None = None
        self.steps: list[tuple[Tensor, list[Any], Tensor]] = []
        self._logits: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        self.peer = copy.deepcopy(toys.hook_of(runner).distiller.teacher.peers[0].network)
        runner.model.head.fc.register_forward_hook(
            lambda _, inputs, logits: self._logits.append(logits.detach().clone())
        )

    def note(self, inputs: Tensor, data_samples: Any) -> None:
        """A step begins; the student has run."""
        self.steps.append((inputs.clone(), copy.deepcopy(list(data_samples)), self._logits[-1]))


@pytest.mark.parametrize("iters", [4, 5])
def test_accumulation_is_that_of_a_hand_written_loop(
    iters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step after every second iteration, of the mean gradient; what is left over at the end."""
    cfg = online("mmpretrain", "image", iters, cfg=wider("mmpretrain"))
    cfg.custom_hooks[0].losses = KD
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.param_scheduler = []
    recorder, forward = Recorder(), Peer.forward

    def spy(self: Peer, batch: Batch) -> Any:
        recorder.note(batch.inputs, batch.data_samples)
        return forward(self, batch)

    monkeypatch.setattr(Peer, "forward", spy)
    runner = build(cfg)
    runner.register_hook(recorder)
    with plain_config_text():
        runner.train()

    peer = recorder.peer.train()
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.02, momentum=0.9)
    for number, (inputs, samples, teacher) in enumerate(recorder.steps, 1):
        left_over = number == iters and iters % 2
        logits = peer.head.fc(peer.extract_feat(inputs)[-1])
        target = torch.cat([sample.gt_label for sample in samples])
        ce = F.cross_entropy(logits, target)
        soft = F.softmax(teacher / 2.0, dim=1)
        kd = 4.0 * (soft * (soft.log() - F.log_softmax(logits / 2.0, dim=1))).sum(1).mean()
        ((ce + 0.5 * kd) / (1 if left_over else 2)).backward()
        if number % 2 == 0 or left_over:
            optimizer.step()
            optimizer.zero_grad()
    saved = toys.checkpoint_of(runner)["mmickd"]["peers"][0]["state_dict"]
    for name, value in peer.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-4, atol=1e-5)


def test_accumulation_goes_on_in_step_when_resumed() -> None:
    """Resumed between two steps, student and peers step in the same iterations as before."""
    cfg = online("mmpretrain", "image", 3)
    cfg.optim_wrapper.accumulative_counts = 2
    _, watch = watched(cfg)
    assert watch.moved("student") == watch.moved("peer0") == [False, True, True]
    cfg.train_cfg.max_iters, cfg.resume = 6, True
    _, watch = watched(cfg)
    assert watch.moved("student") == watch.moved("peer0") == [True, False, True]


def test_the_norm_of_a_peers_gradient_is_not_logged_as_the_students() -> None:
    def norms(name: str, hooks: bool) -> list[float]:
        cfg = online("mmpretrain", "image", 3)
        cfg.custom_hooks[0].losses = toys.OFF
        cfg.custom_hooks = cfg.custom_hooks if hooks else []
        cfg.optim_wrapper.clip_grad = dict(max_norm=0.5)
        return history(run(cfg), name)

    assert norms("grad_norm", hooks=True) == norms("grad_norm", hooks=False)
    assert len(norms("peer0.grad_norm", hooks=True)) == 3


def test_scaled_learning_rates_are_those_of_the_peers_too() -> None:
    cfg = online("mmpretrain", "image", 1)
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=8)  # batches are of 4
    rates = []

    class Look(Hook):
        priority = "LOWEST"

        def before_train(self, runner: Runner) -> None:
            peer = toys.hook_of(runner).distiller.teacher.peers[0]
            rates.extend([runner.optim_wrapper.get_lr(), peer.optim_wrapper.get_lr()])

    runner = build(cfg)
    runner.register_hook(Look())
    with plain_config_text():
        runner.train()
    assert rates == [dict(lr=[0.01]), dict(lr=[0.01])]
