"""Hooks that record what a run does; the tests add them with ``run(cfg, recorder)``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmickd.structures import Context, Samples
from mmickd.utils.modules import get_module
from tests.helpers import toys


class Callback(Hook):
    """Calls functions of the runner at stages of a run, after all other hooks.

    Args:
        stages: A function by the name of a method of ``Hook``.

    Attributes:
        results: Values that the functions returned, in the order of the calls.
    """

    priority = "LOWEST"

    def __init__(self, **stages: Callable[[Runner], Any]) -> None:
        self.results: list[Any] = []
        for stage, function in stages.items():
            setattr(self, stage, self._recording(function))

    def _recording(self, function: Callable[[Runner], Any]) -> Callable[..., None]:
        def call(runner: Runner, *args: Any, **kwargs: Any) -> None:
            self.results.append(function(runner))

        return call


def parameters(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def replace_method(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a method of ``owner`` by ``around(method, *args)``."""
    method = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: around(method, *args, **kwargs))


@dataclass
class Search:
    """A search of the bank with its result."""

    bank: Any
    query: Samples
    positives: Context
    negatives: Context


class SearchRecorder(Hook):
    """Records the searches and the distilled steps of a run with an offline teacher.

    Attributes:
        searches: All searches of the retriever, one per level and step.
        logits: The student's logits of each distilled step.
        data_samples: The data samples of each distilled step.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.searches: list[Search] = []
        self.logits: list[Tensor] = []
        self.data_samples: list[list[Any]] = []

    def before_train(self, runner: Runner) -> None:
        distiller = toys.hook_of(runner).distiller
        replace_method(distiller, "step", self._step)
        replace_method(distiller.teacher.memory._retriever, "search", self._search)

    def _step(self, step: Any, batch: Any, student: Any, *args: Any) -> Any:
        self.logits.append(student.logits.detach().clone())
        self.data_samples.append(list(batch.data_samples))
        return step(batch, student, *args)

    def _search(self, search: Any, bank: Any, query: Any, *args: Any) -> Any:
        contexts = search(bank, query, *args)
        self.searches.append(Search(bank, query, *contexts))
        return contexts


class NetworkRecorder(Hook):
    """Records the networks of a run with peers.

    Attributes:
        weights: By network ('student', 'peer0', ...), parameters before training and after each
            step.
        logits: By network, the dtypes of the classifier layer's output in training.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.weights: dict[str, list[dict[str, Tensor]]] = {}
        self.logits: dict[str, set[torch.dtype]] = {}
        self._networks: dict[str, nn.Module] = {}

    def before_train(self, runner: Runner) -> None:
        peers = toys.hook_of(runner).distiller.teacher.peers
        student_layer = "head.fc" if hasattr(runner.model, "head") else "decode_head.conv_seg"
        layers = {"student": student_layer, **{peer.name: peer.tap.layer for peer in peers}}
        self._networks = {"student": runner.model, **{peer.name: peer.network for peer in peers}}
        for name, network in self._networks.items():
            self.weights[name] = [parameters(network)]
            self.logits[name] = set()
            get_module(network, layers[name]).register_forward_hook(self._record_dtype(name))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        for name, network in self._networks.items():
            self.weights[name].append(parameters(network))

    def _record_dtype(self, name: str) -> Callable[..., None]:
        def record(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            if layer.training:
                self.logits[name].add(output.dtype)

        return record

    def changed(self, name: str) -> list[bool]:
        """Return for each step whether it changed the weights of a network."""
        return [not toys.same_state(a, b) for a, b in pairwise(self.weights[name])]


def bank_states(runner: Runner) -> dict[str, dict[str, Any]]:
    """Return copies of the queues of a run, by name."""
    return {name: copy.deepcopy(b.state_dict()) for name, b in toys.banks_of(runner).items()}
