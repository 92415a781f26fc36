"""What happens to each network of a run with peers, step by step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmickd.utils.modules import get_module
from tests.helpers import toys
from tests.helpers.tiny import build, plain_config_text


class NetworkWatch(Hook):
    """Weights after each step, and the precision of logits, of the student and of each peer.

    Attributes:
        weights: by network ('student', 'peer0', ...), before the first step and after each.
        logits: by network, the dtypes that its classifier layer gave in training.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.weights: dict[str, list[dict[str, Tensor]]] = {}
        self.logits: dict[str, set[torch.dtype]] = {}
        self._networks: dict[str, nn.Module] = {}

    def before_train(self, runner: Runner) -> None:
        peers = toys.hook_of(runner).distiller.teacher.peers
        of_student = "head.fc" if hasattr(runner.model, "head") else "decode_head.conv_seg"
        layers = {"student": of_student, **{peer.name: peer.tap.layer for peer in peers}}
        self._networks = {"student": runner.model, **{peer.name: peer.network for peer in peers}}
        for name, network in self._networks.items():
            self.weights[name] = [parameters(network)]
            self.logits[name] = set()
            get_module(network, layers[name]).register_forward_hook(self._note(name))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        for name, network in self._networks.items():
            self.weights[name].append(parameters(network))

    def _note(self, name: str) -> Callable[..., None]:
        def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            if layer.training:
                self.logits[name].add(output.dtype)

        return note

    def moved(self, name: str) -> list[bool]:
        """Whether the weights of a network changed, step by step."""
        states = self.weights[name]
        return [not toys.same_state(a, b) for a, b in pairwise(states)]


def watched(cfg: Config) -> tuple[Runner, NetworkWatch]:
    """A run that has been watched."""
    runner, watch = build(cfg), NetworkWatch()
    runner.register_hook(watch)
    with plain_config_text():
        runner.train()
    return runner, watch


def parameters(network: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}
