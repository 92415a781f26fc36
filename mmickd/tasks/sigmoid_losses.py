"""Detection of losses that score every class by its own sigmoid."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from torch import nn

from mmickd.utils.errors import ICKDError

REMEDY = "Use a loss over a softmax, such as CrossEntropyLoss with use_sigmoid=False."


def check_losses(losses: Iterable[Any], owner: str) -> None:
    """Raise ``ICKDError`` for a head that is trained by sigmoid losses alone.

    Beside a softmax loss, other losses may use a sigmoid: DiceLoss does so by default.

    Args:
        losses: Modules of the head's losses; other objects are ignored.
        owner: Name of the head, for the message.

    Raises:
        ICKDError: If some losses use a sigmoid and none a softmax; with the first of them.

    Example:
        >>> check_losses([nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()], "head")
        >>> check_losses([nn.BCEWithLogitsLoss()], "head")
        Traceback (most recent call last):
        mmickd.utils.errors.ICKDError: head: BCEWithLogitsLoss scores every class by its own ...
    """
    kinds = [(loss, uses_sigmoid(loss)) for loss in losses]
    sigmoids = [type(loss).__name__ for loss, is_sigmoid in kinds if is_sigmoid]
    if sigmoids and all(is_sigmoid is not False for _, is_sigmoid in kinds):
        raise ICKDError(
            f"{owner}: {sigmoids[0]} scores every class by its own sigmoid, but in-context "
            "distillation compares softmax distributions over classes that exclude each other. "
            f"{REMEDY}"
        )


def uses_sigmoid(loss: Any) -> bool | None:
    """True if a loss uses a sigmoid per class, False if it uses a softmax, None if unknown.

    Example:
        >>> uses_sigmoid(nn.BCEWithLogitsLoss()), uses_sigmoid(nn.Linear(2, 2))
        (True, None)
    """
    sigmoid_losses = (
        nn.BCELoss,
        nn.BCEWithLogitsLoss,
        nn.MultiLabelSoftMarginLoss,
        *loaded_class("mmpretrain.models.losses", "FocalLoss"),
    )
    softmax_losses = (
        nn.CrossEntropyLoss,
        nn.NLLLoss,
        *loaded_class("mmseg.models.losses", "OhemCrossEntropy"),
    )
    for module in loss.modules() if isinstance(loss, nn.Module) else ():
        # The module itself, or a module inside: LabelSmoothLoss has a CrossEntropyLoss.
        flag = getattr(module, "use_sigmoid", None)
        if flag is not None:
            return bool(flag)
        if isinstance(module, (sigmoid_losses, softmax_losses)):
            return isinstance(module, sigmoid_losses)
    return None


def loaded_class(module: str, name: str) -> tuple[type, ...]:
    """Return a class of an optional package, or nothing if the package is not imported.

    Without the import there can be no object of the class.

    Args:
        module: Name of the module of the class; it is not imported here.
        name: Name of the class.
    """
    loaded = getattr(sys.modules.get(module), name, None)
    return (loaded,) if isinstance(loaded, type) else ()
