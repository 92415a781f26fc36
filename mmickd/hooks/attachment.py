"""Attachment of the distillation to the forward pass of an unmodified student."""

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
    """Forward hooks that replace the losses that a model returns in training.

    Args:
        model: The unwrapped student.
        layer: Name of its classifier layer.
        step: Function that returns the new losses from the batch, the layer's input and output,
            and the losses that the model returned; it can be replaced later.
    """

    def __init__(self, model: nn.Module, layer: str, step: Step) -> None:
        self._tap = Tap(model, layer)
        self.layer, self.step = layer, step
        self._handles = [
            model.register_forward_pre_hook(LocalHook(self._before), with_kwargs=True),
            model.register_forward_hook(LocalHook(self._after), with_kwargs=True),
        ]

    def detach(self) -> None:
        """Remove the forward hooks."""
        for handle in self._handles:
            handle.remove()
        self._tap.close()

    # Kept out of torch.compile's graph, because it depends on data and calls other libraries.
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
                "Set the hook's option layer to the layer that outputs the logits."
            )
        if torch.is_grad_enabled() and not tapped.logits.requires_grad:
            raise ICKDError(
                f"the student's layer '{self.layer}' ran without gradients, so distillation "
                "would not train the student. Set use_reentrant=False for activation checkpointing "
                "around that layer, and train a parameter of this layer or of an earlier one."
            )
        return self.step(_batch_of(args, kwargs), tapped, output)


def _is_training_step(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "tensor")
    return mode == "loss" and model.training


def _batch_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Batch:
    """Return inputs and data samples, passed by name or by position (a preprocessor's tuple)."""
    inputs = kwargs["inputs"] if "inputs" in kwargs else args[0]
    data_samples = kwargs["data_samples"] if "data_samples" in kwargs else args[1]
    return Batch(inputs, data_samples)
