"""Runs of the baselines against loops that are written from the formulas of their papers.

The loops use nothing of mmickd: they take the batches and the first weights of a run, and train
plain copies of the networks by the formulas, image by image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from tests.helpers import toys
from tests.helpers.tiny import build, classifier_config, run, with_teacher

EPOCHS, EPOCH_LENGTH = 3, 5


@dataclass
class BatchRecorder(Hook):
    """Records inputs and labels of the batches, and copies of the first and the last networks."""

    priority = "LOWEST"
    first: list[nn.Module] = field(default_factory=list)
    last: list[nn.Module] = field(default_factory=list)
    batches: list[tuple[Tensor, list[int]]] = field(default_factory=list)

    def before_train(self, runner: Runner) -> None:
        peers = getattr(toys.hook_of(runner).distiller.teacher, "peers", [])
        self.networks = [runner.model, *(peer.network for peer in peers)]
        self.first = [plain(network) for network in self.networks]
        runner.model.register_forward_pre_hook(self._record, with_kwargs=True)

    def after_train_epoch(self, runner: Runner) -> None:
        self.last = [plain(network) for network in self.networks]

    def _record(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs.get("mode") == "loss":
            labels = [int(sample.gt_label) for sample in kwargs["data_samples"]]
            self.batches.append((kwargs["inputs"].clone(), labels))


def plain(network: nn.Module) -> nn.Module:
    """Return a copy without its hooks."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return copied


def record_run(teacher: dict[str, Any], losses: dict[str, Any]) -> BatchRecorder:
    toy = toys.classifier()
    cfg: Config = classifier_config(toy.data, toys.new_folder(), iters=EPOCHS, epochs=True)
    cfg.param_scheduler = []
    recorder = BatchRecorder()
    run(with_teacher(cfg, teacher, losses=dict(picd=None, nicd=None, **losses)), recorder)
    assert len(recorder.batches) == EPOCHS * EPOCH_LENGTH
    return recorder


def probabilities(row: Tensor, temperature: float = 1.0) -> list[Tensor]:
    powers = [torch.exp((z - row.max().detach()) / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def kl(p: list[Tensor], q: list[Tensor]) -> Tensor:
    return sum(a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True))  # type: ignore[return-value]


def entropy(p: list[Tensor]) -> float:
    return -sum(float(a) * math.log(float(a)) for a in p)


def cross_entropy(target: list[Any], p: list[Tensor]) -> Tensor:
    return -sum(t * torch.log(a) for t, a in zip(target, p, strict=True))  # type: ignore[return-value]


def one_hot(label: int, classes: int) -> list[float]:
    return [1.0 if c == label else 0.0 for c in range(classes)]


Formula = Callable[[Tensor, int, list[Tensor], int], Tensor]
"""Loss of an image by its logits, label, teachers' logits (constants) and epoch (from 1)."""


def train(
    record: BatchRecorder, formulas: list[Formula], teachers: Callable[..., list[list[Tensor]]]
) -> list[nn.Module]:
    """Train copies of the first networks on the batches of a run; ``teachers`` gives the logits."""
    networks = [copy.deepcopy(network) for network in record.first]
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.02, momentum=0.9) for n in networks]
    past: list[nn.Module] = []
    for step, (inputs, labels) in enumerate(record.batches):
        if step % EPOCH_LENGTH == 0:
            past.append(copy.deepcopy(networks[0]).eval())
        for network in networks:
            network.train()
        logits = [network(inputs, mode="tensor") for network in networks]
        teacher_logits = teachers(inputs, logits, past)
        for number, (formula, optimizer) in enumerate(zip(formulas, optimizers, strict=True)):
            total = torch.zeros(())
            for i, label in enumerate(labels):
                constants = [rows[i].detach() for rows in teacher_logits[number]]
                total = total + formula(logits[number][i], label, constants, len(past))
            optimizer.zero_grad()
            (total / len(labels)).backward()
            optimizer.step()
    return networks


def distance(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((x - y).detach().abs().max()) for x, y in pairs)


def check(record: BatchRecorder, expected: list[nn.Module], undistilled: list[nn.Module]) -> None:
    """Assert that a run ends with the networks of the loop, and not with undistilled ones."""
    for network, distilled, plain in zip(record.last, expected, undistilled, strict=True):
        assert distance(network, distilled) < 2e-5
        assert distance(network, plain) > 1e-3


def task(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
    return cross_entropy(one_hot(label, len(logits)), probabilities(logits))


def other_logits(inputs: Tensor, logits: list[Tensor], past: list[nn.Module]) -> list[list[Tensor]]:
    return [[x for j, x in enumerate(logits) if j != i] for i in range(len(logits))]


def test_deep_mutual_learning() -> None:
    """Zhang et al. 2018, equations 3 and 8: task loss + mean of KL(p_other || p)."""
    teacher = dict(type="OnlineTeacher", num_peers=2)
    record = record_run(teacher, dict(kd=dict(loss_weight=1.0, temperature=1.0)))

    def formula(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
        p = probabilities(logits)
        mimicry = sum(kl(probabilities(other), p) for other in teachers) / len(teachers)
        return task(logits, label, teachers, epoch) + mimicry

    networks = train(record, [formula] * 3, other_logits)
    check(record, networks, train(record, [task] * 3, other_logits))


def test_self_training_of_tf_kd(tmp_path: Any) -> None:
    """Yuan et al. 2020 (arXiv 1909.11723): (1 - a) H(q, p) + a T^2 KL(p_T^pretrained || p_T)."""
    alpha, t = 0.9, 3.0
    cfg = toys.classifier().student()
    pretrained = build(cfg).model
    with torch.no_grad():
        for value in pretrained.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(7)))
    torch.save(dict(state_dict=pretrained.state_dict()), tmp_path / "pretrained.pth")
    record = record_run(
        dict(type="SelfTeacher", mode="checkpoint", checkpoint=str(tmp_path / "pretrained.pth")),
        dict(kd=dict(loss_weight=alpha, temperature=t), task=dict(loss_weight="complement")),
    )
    pretrained = plain(pretrained).eval()

    def formula(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
        soft = kl(probabilities(teachers[0], t), probabilities(logits, t))
        return (1 - alpha) * task(logits, label, teachers, epoch) + alpha * t * t * soft

    def teachers(inputs: Tensor, *args: Any) -> list[list[Tensor]]:
        return [[pretrained(inputs, mode="tensor")]]

    check(record, train(record, [formula], teachers), train(record, [task], teachers))


def test_progressive_self_distillation() -> None:
    """PS-KD (arXiv 2006.12000, equations 3 and 5): H((1 - a_t) y + a_t p_{t-1}, p_t), a_t = a t/T.

    The first epoch has no p_{t-1}, so that its targets are hard.
    """
    alpha = 0.8
    growing = dict(value=alpha, warmup=EPOCHS, by_epoch=True, stepwise=True)
    record = record_run(
        dict(type="SelfTeacher", mode="snapshot"),
        dict(kd=dict(loss_weight=growing, temperature=1.0), task=dict(loss_weight="complement")),
    )

    def formula(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
        target: list[Any] = one_hot(label, len(logits))
        if epoch > 1:
            share = alpha * epoch / EPOCHS
            past = probabilities(teachers[0])
            target = [(1 - share) * y + share * p for y, p in zip(target, past, strict=True)]
        return cross_entropy(target, probabilities(logits))

    def teachers(inputs: Tensor, logits: Any, past: list[nn.Module]) -> list[list[Tensor]]:
        return [[past[-1](inputs, mode="tensor")]]

    check(record, train(record, [formula], teachers), train(record, [task], teachers))


def test_balanced_divergences() -> None:
    """BD-KD (arXiv 2212.12965): both divergences for the student, the reverse one for the peer."""
    t, emphasis = 2.0, 3.0
    kd = dict(loss_weight=0.5, temperature=t)
    record = record_run(
        dict(
            type="OnlineTeacher",
            losses=dict(picd=None, nicd=None, kd=dict(kd, divergence="reverse")),
        ),
        dict(kd=dict(kd, divergence="balanced", emphasis=emphasis)),
    )
    uncertain_students = []

    def students(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
        p, q = probabilities(logits, t), probabilities(teachers[0], t)
        is_uncertain = entropy(p) > entropy(q)
        uncertain_students.append(is_uncertain)
        forward, reverse = (1, emphasis) if is_uncertain else (emphasis, 1)
        both = forward * kl(q, p) + reverse * kl(p, q)
        return task(logits, label, teachers, epoch) + 0.5 * t * t * both

    def peers(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
        reverse = kl(probabilities(logits, t), probabilities(teachers[0], t))
        return task(logits, label, teachers, epoch) + 0.5 * t * t * reverse

    networks = train(record, [students, peers], other_logits)
    assert 0 < sum(uncertain_students) < len(uncertain_students)  # both cases occur
    check(record, networks, train(record, [task] * 2, other_logits))


@pytest.mark.parametrize("interval", [1, 2])
def test_a_snapshot_is_the_teacher_after_its_epoch(interval: int) -> None:
    teacher = dict(type="SelfTeacher", mode="snapshot", interval=interval)
    record = record_run(teacher, dict(kd=dict(loss_weight=1.0, temperature=1.0)))

    def formula(logits: Tensor, label: int, teachers: list[Tensor], epoch: int) -> Tensor:
        loss = task(logits, label, teachers, epoch)
        return (
            loss + kl(probabilities(teachers[0]), probabilities(logits))
            if epoch > interval
            else loss
        )

    def teachers(inputs: Tensor, logits: Any, past: list[nn.Module]) -> list[list[Tensor]]:
        last = (len(past) - 1) // interval * interval
        return [[past[last](inputs, mode="tensor")]]

    check(record, train(record, [formula], teachers), train(record, [task], teachers))
