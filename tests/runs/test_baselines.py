"""Runs of the baselines against loops written from the formulas of their papers.

The loops use nothing of mmickd: they take the batches that a run saw and its first weights, and
train plain copies of the networks by the formulas, picture by picture.
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
from tests.helpers.tiny import build, classifier_config, plain_config_text

EPOCHS, EPOCH_LENGTH = 3, 5
OFF: dict[str, Any] = dict(picd=None, nicd=None)


@dataclass
class Seen(Hook):
    """Batches, labels and networks of a run."""

    priority = "LOWEST"
    first: list[nn.Module] = field(default_factory=list)
    last: list[nn.Module] = field(default_factory=list)
    batches: list[tuple[Tensor, list[int]]] = field(default_factory=list)

    def before_train(self, runner: Runner) -> None:
        self.networks = [runner.model]
        self.networks += [
            p.network for p in getattr(toys.hook_of(runner).distiller.teacher, "peers", [])
        ]
        self.first = [plain(network) for network in self.networks]
        runner.model.register_forward_pre_hook(self._see, with_kwargs=True)

    def after_train_epoch(self, runner: Runner) -> None:
        self.last = [plain(network) for network in self.networks]

    def _see(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs.get("mode") == "loss":
            labels = [int(sample.gt_label) for sample in kwargs["data_samples"]]
            self.batches.append((kwargs["inputs"].clone(), labels))


def plain(network: nn.Module) -> nn.Module:
    """A copy without what is attached to it."""
    own = copy.deepcopy(network)
    for module in own.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return own


def run(teacher: dict[str, Any], losses: dict[str, Any]) -> Seen:
    toy = toys.classifier()
    cfg: Config = classifier_config(toy.data, toys.new_folder(), iters=EPOCHS, epochs=True)
    cfg.param_scheduler = []
    hook = dict(type="mmickd.ICKDHook", teacher=teacher, losses=dict(OFF, **losses))
    cfg.custom_hooks = [hook]
    runner, seen = build(cfg), Seen()
    runner.register_hook(seen)
    with plain_config_text():
        runner.train()
    assert len(seen.batches) == EPOCHS * EPOCH_LENGTH
    return seen


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
"""Loss of a picture: own logits, label, logits of the others (constants), epoch from 1."""


def train(seen: Seen, formulas: list[Formula], others: Callable[..., list[list[Tensor]]]) -> Any:
    """Networks of the loop after the run's batches."""
    networks = [copy.deepcopy(network) for network in seen.first]
    steps = [torch.optim.SGD(n.parameters(), lr=0.02, momentum=0.9) for n in networks]
    past: list[nn.Module] = []
    for step, (inputs, labels) in enumerate(seen.batches):
        if step % EPOCH_LENGTH == 0:
            past.append(copy.deepcopy(networks[0]).eval())
        for network in networks:
            network.train()
        logits = [network(inputs, mode="tensor") for network in networks]
        given = others(inputs, logits, past)
        for own, formula, optimizer in zip(range(len(networks)), formulas, steps, strict=True):
            total = torch.zeros(())
            for i, label in enumerate(labels):
                constants = [rows[i].detach() for rows in given[own]]
                total = total + formula(logits[own][i], label, constants, len(past))
            optimizer.zero_grad()
            (total / len(labels)).backward()
            optimizer.step()
    return networks


def distance(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((x - y).detach().abs().max()) for x, y in pairs)


def check(seen: Seen, networks: list[nn.Module], without: list[nn.Module]) -> None:
    """Equal to the loop's, and far from the networks that the loop without distillation gives."""
    for own, wanted, other in zip(seen.last, networks, without, strict=True):
        assert distance(own, wanted) < 2e-5
        assert distance(own, other) > 1e-3


def task(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
    return cross_entropy(one_hot(label, len(own)), probabilities(own))


def all_others(inputs: Tensor, logits: list[Tensor], past: list[nn.Module]) -> list[list[Tensor]]:
    return [[x for j, x in enumerate(logits) if j != i] for i in range(len(logits))]


def test_deep_mutual_learning() -> None:
    """Zhang et al. 2018, equations 3 and 8: own task loss + mean of KL(p_other || p_own)."""
    teacher = dict(type="OnlineTeacher", num_peers=2)
    seen = run(teacher, dict(kd=dict(loss_weight=1.0, temperature=1.0)))

    def formula(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
        p = probabilities(own)
        mimicry = sum(kl(probabilities(other), p) for other in given) / len(given)
        return task(own, label, given, epoch) + mimicry

    networks = train(seen, [formula] * 3, all_others)
    check(seen, networks, train(seen, [task] * 3, all_others))


def test_self_training_of_tf_kd(tmp_path: Any) -> None:
    """Yuan et al. 2020 (arXiv 1909.11723): (1 - a) H(q, p) + a T^2 KL(p_T^pretrained || p_T)."""
    alpha, t = 0.9, 3.0
    cfg = toys.classifier().student()
    pretrained = build(cfg).model
    with torch.no_grad():
        for value in pretrained.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(7)))
    torch.save(dict(state_dict=pretrained.state_dict()), tmp_path / "pretrained.pth")
    seen = run(
        dict(type="SelfTeacher", mode="checkpoint", checkpoint=str(tmp_path / "pretrained.pth")),
        dict(kd=dict(loss_weight=alpha, temperature=t), task=dict(loss_weight="complement")),
    )
    pretrained = plain(pretrained).eval()

    def formula(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
        soft = kl(probabilities(given[0], t), probabilities(own, t))
        return (1 - alpha) * task(own, label, given, epoch) + alpha * t * t * soft

    def others(inputs: Tensor, *args: Any) -> list[list[Tensor]]:
        return [[pretrained(inputs, mode="tensor")]]

    check(seen, train(seen, [formula], others), train(seen, [task], others))


def test_progressive_self_distillation() -> None:
    """PS-KD (arXiv 2006.12000, equations 3 and 5): H((1 - a_t) y + a_t p_{t-1}, p_t), a_t = a t/T.

    In the first epoch there is no p_{t-1}: its targets are hard.
    """
    alpha = 0.8
    growing = dict(value=alpha, warmup=EPOCHS, by_epoch=True, stepwise=True)
    seen = run(
        dict(type="SelfTeacher", mode="snapshot"),
        dict(kd=dict(loss_weight=growing, temperature=1.0), task=dict(loss_weight="complement")),
    )

    def formula(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
        target: list[Any] = one_hot(label, len(own))
        if epoch > 1:
            share = alpha * epoch / EPOCHS
            past = probabilities(given[0])
            target = [(1 - share) * y + share * p for y, p in zip(target, past, strict=True)]
        return cross_entropy(target, probabilities(own))

    def others(inputs: Tensor, logits: Any, past: list[nn.Module]) -> list[list[Tensor]]:
        return [[past[-1](inputs, mode="tensor")]]

    check(seen, train(seen, [formula], others), train(seen, [task], others))


def test_balanced_divergences() -> None:
    """BD-KD (arXiv 2212.12965): both divergences for the student, the reverse one for the peer."""
    t, emphasis = 2.0, 3.0
    kd = dict(loss_weight=0.5, temperature=t)
    seen = run(
        dict(type="OnlineTeacher", losses=dict(OFF, kd=dict(kd, divergence="reverse"))),
        dict(kd=dict(kd, divergence="balanced", emphasis=emphasis)),
    )
    sides = []

    def students(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
        p, q = probabilities(own, t), probabilities(given[0], t)
        unsure = entropy(p) > entropy(q)
        sides.append(unsure)
        forward, reverse = (1, emphasis) if unsure else (emphasis, 1)
        both = forward * kl(q, p) + reverse * kl(p, q)
        return task(own, label, given, epoch) + 0.5 * t * t * both

    def peers(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
        reverse = kl(probabilities(own, t), probabilities(given[0], t))
        return task(own, label, given, epoch) + 0.5 * t * t * reverse

    networks = train(seen, [students, peers], all_others)
    assert 0 < sum(sides) < len(sides)  # both cases were met
    check(seen, networks, train(seen, [task] * 2, all_others))


@pytest.mark.parametrize("interval", [1, 2])
def test_a_snapshot_teaches_from_the_end_of_its_epoch_on(interval: int) -> None:
    teacher = dict(type="SelfTeacher", mode="snapshot", interval=interval)
    seen = run(teacher, dict(kd=dict(loss_weight=1.0, temperature=1.0)))

    def formula(own: Tensor, label: int, given: list[Tensor], epoch: int) -> Tensor:
        loss = task(own, label, given, epoch)
        return loss + kl(probabilities(given[0]), probabilities(own)) if epoch > interval else loss

    def others(inputs: Tensor, logits: Any, past: list[nn.Module]) -> list[list[Tensor]]:
        last = (len(past) - 1) // interval * interval
        return [[past[last](inputs, mode="tensor")]]

    check(seen, train(seen, [formula], others), train(seen, [task], others))
