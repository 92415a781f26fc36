"""Whether a state that was loaded can stand where another one stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmickd.utils.text import safe_repr

SWITCHES = (bool, type(None))


def check_same_structure(saved: Any, own: Any, where: str) -> None:
    """Refuse a state of another form: torch and mmengine take any, and fail in a later step.

    Args:
        saved: to be loaded: nested dicts and lists of tensors and plain values.
        own: that it shall replace, whose keys it must have; but switches (a bool or None) may be
            missing, since torch adds some with a version. Text is a name of something and must be
            the same; of numbers and switches, any other will do.
        where: name of the state, for the message.

    Raises:
        ValueError: with the first place that differs.

    Example:
        >>> own = {"lr": 1, "momentum": 0.9, "foreach": None}
        >>> check_same_structure({"momentum": 0.5}, own, "x")
        Traceback (most recent call last):
            ...
        ValueError: x has no lr
        >>> check_same_structure({"lr": "fast"}, {"lr": 0.1}, "x")
        Traceback (most recent call last):
            ...
        ValueError: x.lr is 'fast'
    """
    if isinstance(own, Mapping) and isinstance(saved, Mapping):
        for name, value in own.items():
            if name in saved:
                check_same_structure(saved[name], value, f"{where}.{name}")
            elif not isinstance(value, SWITCHES):
                raise ValueError(f"{where} has no {name}")
    elif _is_list(own) and _is_list(saved) and len(saved) == len(own):
        for index, (one, other) in enumerate(zip(saved, own, strict=True)):
            check_same_structure(one, other, f"{where}.{index}")
    elif not _is_like(saved, own):
        raise ValueError(f"{where} is {safe_repr(saved)}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_like(saved: Any, own: Any) -> bool:
    if isinstance(own, Tensor):
        return isinstance(saved, Tensor) and saved.shape == own.shape
    if isinstance(own, SWITCHES):
        return isinstance(saved, SWITCHES)
    if isinstance(own, (int, float)):
        return isinstance(saved, (int, float)) and not isinstance(saved, bool)
    if isinstance(own, str):
        return saved == own
    return type(saved) is type(own) and not _is_list(own)
