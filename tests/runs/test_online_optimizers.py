"""Peers' optimizers accumulate, clip and scale the learning rate as the student's does."""

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
from tests.helpers.learning_runs import online_config, wider
from tests.helpers.recorders import Callback, NetworkRecorder
from tests.helpers.tiny import history, resume, run

KD = dict(kd=dict(temperature=2.0, loss_weight=0.5), picd=None, nicd=None)


class PeerStepRecorder(Hook):
    """Records the steps of a peer.

    Attributes:
        peer: Copy of the peer before the first step.
        steps: Inputs, data samples and the student's logits of each step.
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

    def record(self, inputs: Tensor, data_samples: Any) -> None:
        """Record a step after the student's forward pass."""
        self.steps.append((inputs.clone(), copy.deepcopy(list(data_samples)), self._logits[-1]))


@pytest.mark.parametrize("iters", [4, 5])
def test_accumulation_is_that_of_a_hand_written_loop(
    iters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each second iteration steps by the mean gradient; the last one by the rest."""
    cfg = online_config("mmpretrain", "image", iters, cfg=wider("mmpretrain"))
    cfg.custom_hooks[0].losses = KD
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.param_scheduler = []
    recorder, forward = PeerStepRecorder(), Peer.forward

    def spy(self: Peer, batch: Batch) -> Any:
        recorder.record(batch.inputs, batch.data_samples)
        return forward(self, batch)

    monkeypatch.setattr(Peer, "forward", spy)
    runner = run(cfg, recorder)

    peer = recorder.peer.train()
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.02, momentum=0.9)
    for number, (inputs, samples, teacher) in enumerate(recorder.steps, 1):
        is_rest = number == iters and iters % 2
        logits = peer.head.fc(peer.extract_feat(inputs)[-1])
        target = torch.cat([sample.gt_label for sample in samples])
        ce = F.cross_entropy(logits, target)
        soft = F.softmax(teacher / 2.0, dim=1)
        kd = 4.0 * (soft * (soft.log() - F.log_softmax(logits / 2.0, dim=1))).sum(1).mean()
        ((ce + 0.5 * kd) / (1 if is_rest else 2)).backward()
        if number % 2 == 0 or is_rest:
            optimizer.step()
            optimizer.zero_grad()
    saved = toys.checkpoint_of(runner)["mmickd"]["peers"][0]["state_dict"]
    for name, value in peer.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-4, atol=1e-5)


def test_student_and_peers_step_together_after_resuming() -> None:
    """The run is resumed between two steps of the optimizers."""
    cfg = online_config("mmpretrain", "image", 3)
    cfg.optim_wrapper.accumulative_counts = 2
    first, second = NetworkRecorder(), NetworkRecorder()
    run(cfg, first)
    assert first.changed("student") == first.changed("peer0") == [False, True, True]
    resume(cfg, 6, second)
    assert second.changed("student") == second.changed("peer0") == [True, False, True]


def test_the_gradient_norm_of_a_peer_is_logged_apart() -> None:
    def norms(name: str, hooks: bool) -> list[float]:
        cfg = online_config("mmpretrain", "image", 3)
        cfg.custom_hooks[0].losses = toys.OFF
        cfg.custom_hooks = cfg.custom_hooks if hooks else []
        cfg.optim_wrapper.clip_grad = dict(max_norm=0.5)
        return history(run(cfg), name)

    assert norms("grad_norm", hooks=True) == norms("grad_norm", hooks=False)
    assert len(norms("peer0.grad_norm", hooks=True)) == 3


def test_learning_rates_of_peers_are_scaled_too() -> None:
    cfg = online_config("mmpretrain", "image", 1)
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=8)  # batches are of 4

    def rates(runner: Runner) -> list[dict[str, list[float]]]:
        peer = toys.hook_of(runner).distiller.teacher.peers[0]
        return [runner.optim_wrapper.get_lr(), peer.optim_wrapper.get_lr()]

    callback = Callback(before_train=rates)
    run(cfg, callback)
    assert callback.results == [[dict(lr=[0.01]), dict(lr=[0.01])]]
