"""Checking what a config says, before anything is built from it."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

from mmickd.utils.errors import ICKDError


def check_names(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Refuse names that do not exist.

    Args:
        given: names in the config.
        allowed: names that exist.
        where: which part of the config, for the message.

    Raises:
        ICKDError: with the nearest right name.
    """
    allowed = list(allowed)
    for name in given:
        if name in allowed:
            continue
        near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(allowed)}."
        raise ICKDError(f"{where} has no option '{name}': {hint}")


def check_dict(given: Any, allowed: Iterable[str], where: str) -> dict[str, Any]:
    """``given`` as a dict with names that exist; None is an empty one.

    Raises:
        ICKDError: if it is no dict, or has an unknown name.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ICKDError(f"{where} must be a dict, got {given!r}.")
    check_names(given, allowed, where)
    return dict(given)


def parameters_of(kind: type) -> list[str]:
    """Names of the arguments that ``kind`` is made with."""
    return [name for name in inspect.signature(kind.__init__).parameters if name != "self"]  # type: ignore[misc]


def check_integer(value: Any, least: int, name: str, none: bool = False) -> None:
    """Refuse all but integers from ``least`` on (and None, if allowed).

    Raises:
        ICKDError: with the range.
    """
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        other = " or None" if none else ""
        raise ICKDError(f"{name}={value!r}: it must be an integer of at least {least}{other}.")


def check_positive(value: Any, name: str, infinite: bool = False) -> None:
    """Refuse all but positive numbers (finite ones, unless infinity is allowed).

    Raises:
        ICKDError: with the range.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value > 0 or (math.isinf(value) and not infinite):
        raise ICKDError(f"{name}={value!r}: it must be a positive number.")


def check_share(value: Any, name: str) -> None:
    """Refuse all but numbers in (0, 1].

    Raises:
        ICKDError: with the range.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= 1:
        raise ICKDError(f"{name}={value!r}: it must be a number in (0, 1].")


def check_choice(value: Any, choices: Iterable[Any], name: str) -> None:
    """Refuse what is none of the choices.

    Raises:
        ICKDError: with the choices, the nearest first if one is near.
    """
    choices = list(choices)
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ICKDError(
        f"{name}={value!r}: it must be one of {', '.join(str(c) for c in choices)}.{hint}"
    )
