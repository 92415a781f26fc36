"""Comparison of the structures of a loaded state and of the state that it replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmickd.utils.text import safe_repr

SWITCHES = (bool, type(None))


def check_same_structure(saved: Any, current: Any, where: str) -> None:
    """Raise an error for a state of another structure, which torch would load, and fail later.

    Args:
        saved: State to load: nested dicts and lists of tensors and plain values.
        current: Present state. ``saved`` must have its keys, except for switches (a bool or None),
            as new versions of torch add switches. Tensors must have the same shape, and strings
            must be equal, since they are names; numbers and switches may differ.
        where: Name of the state, for the message.

    Raises:
        ValueError: At the first difference, with its place.

    Example:
        >>> current = {"lr": 1, "momentum": 0.9, "foreach": None}
        >>> check_same_structure({"momentum": 0.5}, current, "x")
        Traceback (most recent call last):
            ...
        ValueError: x has no lr
        >>> check_same_structure({"lr": "fast"}, {"lr": 0.1}, "x")
        Traceback (most recent call last):
            ...
        ValueError: x.lr is 'fast'
    """
    if isinstance(current, Mapping) and isinstance(saved, Mapping):
        for name, value in current.items():
            if name in saved:
                check_same_structure(saved[name], value, f"{where}.{name}")
            elif not isinstance(value, SWITCHES):
                raise ValueError(f"{where} has no {name}")
    elif _is_list(current) and _is_list(saved) and len(saved) == len(current):
        for index, pair in enumerate(zip(saved, current, strict=True)):
            check_same_structure(*pair, f"{where}.{index}")
    elif not _is_like(saved, current):
        raise ValueError(f"{where} is {safe_repr(saved)}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_like(saved: Any, current: Any) -> bool:
    if isinstance(current, Tensor):
        return isinstance(saved, Tensor) and saved.shape == current.shape
    if isinstance(current, SWITCHES):
        return isinstance(saved, SWITCHES)
    if isinstance(current, (int, float)):
        return isinstance(saved, (int, float)) and not isinstance(saved, bool)
    if isinstance(current, str):
        return saved == current
    return type(saved) is type(current) and not _is_list(current)
