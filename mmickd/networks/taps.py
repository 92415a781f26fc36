"""Reading the input and output of a layer of any model."""

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
"""Types that a classifier layer can have."""


class LocalHook:
    """Module hook that is not copied with its module.

    ``copy.deepcopy`` and ``pickle`` of a hooked module copy its hooks. With a bound method they
    also copy its object, so that every EMA copy would hold teacher and bank. The copy of a
    :class:`LocalHook` is :func:`no_hook`, which does nothing.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as a hook of the module."""
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return _get_no_hook, ()


def no_hook(*args: Any, **kwargs: Any) -> None:
    """Do nothing: the hook of a copied module."""


def _get_no_hook() -> Callable[..., None]:
    return no_hook


class Tap:
    """Recorder of a layer's input and output while it is armed.

    Calls outside of :meth:`arm` .. :meth:`take` are ignored: activation checkpointing runs the
    layer again in the backward pass, and a copy of the model may run too.

    Args:
        model: Model that holds the layer.
        layer: Name of the layer, without the components that wrappers insert.

    Raises:
        ICKDError: If the model has no such layer.

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
        """Delete the last recording, and record from now on."""
        self._armed, self._tapped = True, None

    def take(self) -> Tapped | None:
        """Return the last recording and stop; None if the layer did not run."""
        tapped, self._tapped, self._armed = self._tapped, None, False
        return tapped

    def read(self, run: Callable[[], Any], owner: str, option: str) -> Tapped:
        """Return input and output of the layer while a network runs.

        Args:
            run: Function that runs the network.
            owner: Name of the network, for the message.
            option: Option that names the layer, for the message.

        Raises:
            ICKDError: If the layer did not run.
        """
        self.arm()
        try:
            run()
        finally:
            tapped = self.take()
        if tapped is None:
            raise ICKDError(
                f"{owner}'s layer '{self.layer}' does not run in its forward pass. Set {option} to "
                "the layer that outputs the logits."
            )
        return tapped

    def close(self) -> None:
        """Remove the hook from the layer."""
        self._handle.remove()

    def _record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._armed:
            self._tapped = Tapped(_batched(args[0]), _batched(output))


def _batched(values: Any) -> Any:
    """Return values whose vector gets a batch axis: LeNet5 squeezes the axis of a batch of one."""
    return values[None] if isinstance(values, Tensor) and values.ndim == 1 else values


def out_width(layer: nn.Module) -> int:
    """Return the number of classes of a classifier layer.

    Raises:
        ICKDError: If the layer is no Linear or Conv layer.
    """
    return _width(layer, "out_features", "out_channels")


def feature_width(model: nn.Module, layer: str) -> int:
    """Return the width of the features that a classifier layer takes.

    Raises:
        ICKDError: If the model has no such layer, or the layer is no Linear or Conv layer.
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
    """Return the module called ``layer``.

    Raises:
        ICKDError: If the model has no such module, with the most similar name.
    """
    module = get_module(model, layer)
    if module is None:
        names = [name_without_wrappers(name) for name, _ in model.named_modules() if name]
        similar = difflib.get_close_matches(layer, names, n=1)
        hint = (
            f"Did you mean '{similar[0]}'?"
            if similar
            else f"Its last layers: {', '.join(leaf_names(model)[-12:])}"
        )
        raise ICKDError(f"{type(model).__name__} has no layer '{layer}'. {hint}")
    return module


def leaf_names(model: nn.Module) -> list[str]:
    """Return the names of all Linear and Conv layers."""
    return [name_without_wrappers(n) for n, m in model.named_modules() if isinstance(m, LEAVES)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into eval mode in the block, and restore the mode of every module after it."""
    modes = {module: module.training for module in model.modules()}
    # By train(), not by the flags alone: train() of LeViT, TinyViT and others prepares tensors.
    model.train(False)
    try:
        yield
    finally:
        model.train(modes[model])
        for module, is_training in modes.items():
            module.training = is_training
