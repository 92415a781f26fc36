"""Reading a layer of any model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmickd.structures import Tapped
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import get_module, name_without_wrappers

LEAVES = (nn.Linear, nn.modules.conv._ConvNd)


class LocalHook:
    """A module hook that stays with the module it was registered on.

    ``copy.deepcopy`` and ``pickle`` of a hooked module copy its hooks, and a bound method would
    take its owner along (here: teacher and bank, into every EMA copy). A copied
    :class:`LocalHook` is :func:`no_hook` instead.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Called by the module."""
        return self._function(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return no_hook

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return _copied_hook, ()


def no_hook(*args: Any, **kwargs: Any) -> None:
    """The hook of a copy: it does nothing."""


def _copied_hook() -> Callable[..., None]:
    """Unpickled in place of a :class:`LocalHook`."""
    return no_hook


class Tap:
    """Reads a layer while it is armed.

    Calls outside of :meth:`arm` .. :meth:`take` are ignored: activation checkpointing runs the
    layer a second time in the backward pass, and a copy of the model runs it for itself.

    Args:
        model: the model that holds the layer.
        layer: its name, without what wrappers insert.

    Raises:
        ICKDError: if there is no such layer.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> tapped = Tap(model, "2").read(lambda: model(torch.zeros(5, 4)), "the model", "layer")
        >>> tapped.features.shape, tapped.logits.shape
        (torch.Size([5, 8]), torch.Size([5, 3]))
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.layer = layer
        self._module = require_layer(model, layer)
        self._armed = False
        self._tapped: Tapped | None = None
        self._handle = self._module.register_forward_hook(LocalHook(self._record))

    @property
    def num_classes(self) -> int:
        """Width of the logits."""
        return out_width(self._module)

    def arm(self) -> None:
        """Record from now on; forget what was recorded."""
        self._armed, self._tapped = True, None

    def take(self) -> Tapped | None:
        """The last recording, once; None if the layer did not run."""
        tapped, self._tapped, self._armed = self._tapped, None, False
        return tapped

    def read(self, run: Callable[[], Any], owner: str, option: str) -> Tapped:
        """Input and output of the layer while a network runs.

        Args:
            run: runs the network.
            owner: of the network, for the message.
            option: the option that names the layer, for the message.

        Raises:
            ICKDError: if the layer did not run.
        """
        self.arm()
        try:
            run()
        finally:
            tapped = self.take()
        if tapped is None:
            raise ICKDError(
                f"{owner}'s layer '{self.layer}' does not run in its forward pass. Set {option} to "
                "the layer that gives the logits."
            )
        return tapped

    def close(self) -> None:
        """Leave the layer."""
        self._handle.remove()

    def _record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._armed:
            self._tapped = Tapped(_batched(args[0]), _batched(output))


def _batched(values: Any) -> Any:
    """Give a vector its batch axis back: LeNet5 squeezes it off a batch of one."""
    return values[None] if isinstance(values, Tensor) and values.ndim == 1 else values


def out_width(layer: nn.Module) -> int:
    """Number of classes that a classifier layer tells apart.

    Raises:
        ICKDError: if it is no Linear or Conv layer.
    """
    return _width(layer, "out_features", "out_channels")


def feature_width(model: nn.Module, layer: str) -> int:
    """Width of the features that a classifier layer takes.

    Raises:
        ICKDError: if there is no such layer, or it is no Linear or Conv layer.
    """
    return _width(require_layer(model, layer), "in_features", "in_channels")


def _width(layer: nn.Module, *names: str) -> int:
    widths = [getattr(layer, name) for name in names if getattr(layer, name, None)]
    if not widths:
        raise ICKDError(
            f"{type(layer).__name__} is no classifier layer: it must be a Linear or Conv layer."
        )
    return int(widths[0])


def require_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module called ``layer``.

    Raises:
        ICKDError: if there is none, with the nearest name.
    """
    module = get_module(model, layer)
    if module is None:
        names = [name_without_wrappers(name) for name, _ in model.named_modules() if name]
        near = difflib.get_close_matches(layer, names, n=1)
        hint = (
            f"Did you mean '{near[0]}'?"
            if near
            else f"The last ones that it has: {', '.join(leaf_names(model)[-12:])}"
        )
        raise ICKDError(f"{type(model).__name__} has no layer '{layer}'. {hint}")
    return module


def leaf_names(model: nn.Module) -> list[str]:
    """Names of all Linear and Conv layers."""
    return [name_without_wrappers(n) for n, m in model.named_modules() if isinstance(m, LEAVES)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in eval mode; afterwards every module is in the mode that it was in."""
    training = {module: module.training for module in model.modules()}
    # By train() and not by the flags alone: LeViT, TinyViT and others prepare tensors there.
    model.train(False)
    try:
        yield
    finally:
        model.train(training[model])
        for module, flag in training.items():
            module.training = flag
