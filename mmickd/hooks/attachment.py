"""Joining the student's forward pass from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmickd.networks.taps import LocalHook, Tap
from mmickd.structures import Batch, Tapped
from mmickd.utils.errors import ICKDError

Step = Callable[[Batch, Tapped, dict[str, Any]], dict[str, Any]]


class Attachment:
    """Changes the losses that an unmodified model returns in training.

    Args:
        model: the unwrapped student.
        layer: its classifier layer.
        step: makes the new losses from the batch, what the layer took and gave, and the losses that
            the model returned.

    Attributes:
        layer (str): the classifier layer.
        step (Step): as given; whoever only looks may put another one in its place.
    """

    def __init__(self, model: nn.Module, layer: str, step: Step) -> None:
        self._tap = Tap(model, layer)
        self.layer, self.step = layer, step
        self._handles = [
            model.register_forward_pre_hook(LocalHook(self._before), with_kwargs=True),
            model.register_forward_hook(LocalHook(self._after), with_kwargs=True),
        ]

    def detach(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._tap.close()

    # What happens here depends on data and on other libraries: outside of torch.compile's graph.
    @torch._dynamo.disable
    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _is_training_step(model, args, kwargs):
            self._tap.arm()

    @torch._dynamo.disable
    def _after(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> dict[str, Any] | None:
        if not _is_training_step(model, args, kwargs):
            return None
        tapped = self._tap.take()
        if tapped is None:
            raise ICKDError(
                f"the student's layer '{self.layer}' did not run in its training step. "
                "Set the hook's layer to the layer that gives the logits."
            )
        if torch.is_grad_enabled() and not tapped.logits.requires_grad:
            raise ICKDError(
                f"the student's layer '{self.layer}' ran without gradients, so distillation "
                "would not reach the student. Activation checkpointing around that layer needs "
                "use_reentrant=False; and some parameter before it, or in it, must be trained."
            )
        return self.step(_batch_of(args, kwargs), tapped, output)


def _is_training_step(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "tensor")
    return mode == "loss" and model.training


def _batch_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Batch:
    """Inputs and data samples, by name or by place (preprocessors that return a tuple)."""
    inputs = kwargs["inputs"] if "inputs" in kwargs else args[0]
    data_samples = kwargs["data_samples"] if "data_samples" in kwargs else args[1]
    return Batch(inputs, data_samples)
