"""Losses that score every class by its own sigmoid."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from torch import nn

from mmickd.utils.errors import ICKDError

REMEDY = "Use a loss over a softmax, such as CrossEntropyLoss with use_sigmoid=False."


def check_losses(losses: Iterable[Any], owner: str) -> None:
    """Refuse a head that is trained by sigmoid losses alone.

    Beside a softmax loss, others may score single classes: DiceLoss does so by default.

    Args:
        losses: modules of the head's losses; others are passed over.
        owner: what the losses belong to, for the message.

    Raises:
        ICKDError: if some use a sigmoid and none a softmax, with the name of the first.

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
            f"{owner}: {sigmoids[0]} scores every class by its own sigmoid, "
            "while in-context distillation compares softmax distributions over classes that "
            f"exclude each other. {REMEDY}"
        )


def uses_sigmoid(loss: Any) -> bool | None:
    """True if a loss uses a sigmoid per class, False if a softmax; None if it does not show.

    Example:
        >>> uses_sigmoid(nn.BCEWithLogitsLoss()), uses_sigmoid(nn.Linear(2, 2))
        (True, None)
    """
    of_sigmoid = (
        nn.BCELoss,
        nn.BCEWithLogitsLoss,
        nn.MultiLabelSoftMarginLoss,
        *loaded_class("mmpretrain.models.losses", "FocalLoss"),
    )
    of_softmax = (
        nn.CrossEntropyLoss,
        nn.NLLLoss,
        *loaded_class("mmseg.models.losses", "OhemCrossEntropy"),
    )
    for module in loss.modules() if isinstance(loss, nn.Module) else ():
        # the module itself, or what it wraps: LabelSmoothLoss has a CrossEntropyLoss
        flag = getattr(module, "use_sigmoid", None)
        if flag is not None:
            return bool(flag)
        if isinstance(module, (of_sigmoid, of_softmax)):
            return isinstance(module, of_sigmoid)
    return None


def loaded_class(module: str, name: str) -> tuple[type, ...]:
    """Return a class of an optional package; empty where no object can be of it yet.

    Args:
        module: that has the class; it is not imported here.
        name: of the class.
    """
    loaded = getattr(sys.modules.get(module), name, None)
    return (loaded,) if isinstance(loaded, type) else ()
