"""Checking what a config says, before anything is built from it."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmickd.utils.errors import ICKDError, OptionError

POSITIVE = "a number above 0", "a positive number"


def check_names(
    given: Iterable[str], allowed: Iterable[str], where: str, otherwise: str = ""
) -> None:
    """Refuse names that do not exist.

    Args:
        given: names in the config.
        allowed: names that exist.
        where: which part of the config, for the message.
        otherwise: what else would be possible, for the message where no name is near.

    Raises:
        ICKDError: with the nearest right name.
    """
    allowed = list(allowed)
    for name in given:
        if name in allowed:
            continue
        near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
        listed = f"it takes {', '.join(allowed)}{otherwise}."
        hint = f"did you mean '{near[0]}'?" if near else listed
        raise ICKDError(f"{where} has no option '{name}': {hint}")


def check_dict(given: Any, where: str, allowed: Iterable[str] | None = None) -> dict[str, Any]:
    """``given`` as a dict; None is an empty one.

    Args:
        given: of a config.
        where: which part of the config, for the message.
        allowed: names that exist; None: any.

    Raises:
        ICKDError: if it is no dict, or has an unknown name.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ICKDError(f"{where} must be a dict, got {given!r}.")
    if allowed is not None:
        check_names(given, allowed, where)
    return dict(given)


def parameters_of(kind: Callable[..., Any]) -> list[str]:
    """Names of the arguments that a class is made with.

    Example:
        >>> parameters_of(OptionError)
        ['name', 'value', 'needed']
    """
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind not in starred]


def check_integer(value: Any, least: int, name: str, none: bool = False) -> None:
    """Refuse all but integers from ``least`` on (and None, if allowed).

    Raises:
        OptionError: with the range.
    """
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        other = " or None" if none else ""
        raise OptionError(name, value, f"it must be an integer of at least {least}{other}.")


def check_number(
    value: Any,
    name: str,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    infinite: bool = False,
) -> None:
    """Refuse all but numbers of a range.

    Args:
        value: of a config.
        name: of the option.
        above: bound below, which it must not reach.
        least: bound below, which it may reach.
        most: bound above, which it may reach.
        infinite: whether infinity is a number.

    Raises:
        OptionError: with the range.

    Example:
        >>> check_number(2, "momentum", above=0, most=1)
        Traceback (most recent call last):
            ...
        mmickd.utils.errors.OptionError: momentum=2: it must be a number in (0, 1].
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if real and above < value <= most and value >= least and (infinite or math.isfinite(value)):
        return
    if most < math.inf:
        needed = f"in {'(' if above >= least else '['}{max(above, least):g}, {most:g}]"
    else:
        needed = f"above {above:g}" if above >= least else f"of at least {least:g}"
    raise OptionError(name, value, f"it must be a number {needed}.".replace(*POSITIVE))


def check_choice(value: Any, choices: Iterable[Any], name: str) -> None:
    """Refuse what is none of the choices.

    Raises:
        OptionError: with the choices, the nearest first if one is near.
    """
    choices = list(choices)
    # 1 is no True, and an array has no truth value
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(str(c) for c in choices)
    raise OptionError(name, value, f"it must be one of {listed}.{hint}")


def check_flag(value: Any, name: str) -> None:
    """Refuse all but True and False.

    Raises:
        OptionError: for anything else.
    """
    check_choice(value, (True, False), name)
