"""Validation of config values before objects are built from them."""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlparse

from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.text import safe_repr

POSITIVE = "a number above 0", "a positive number"
MAX_INTEGER = 2**32 - 1
"""Maximum integer of an option: numpy's largest seed, and more than any size."""
MIN_NUMBER, MAX_NUMBER = 1e-12, 1e12
"""Range of factors and divisors with which losses stay finite in float32."""


def check_names(
    names: Iterable[str], allowed: Iterable[str], where: str, otherwise: str = ""
) -> None:
    """Raise an error for names that are not allowed.

    Args:
        names: Names in the config.
        allowed: Allowed names.
        where: Part of the config, for the message.
        otherwise: Further possibilities, for the message if no allowed name is similar.

    Raises:
        ICKDError: With the most similar allowed name.
    """
    allowed = list(allowed)
    for name in names:
        if name in allowed:
            continue
        similar = nearest(name, allowed, cutoff=0.5)
        listed = f"it takes {', '.join(allowed)}{otherwise}."
        hint = f"did you mean '{similar}'?" if similar else listed
        raise ICKDError(f"{where} has no option {safe_repr(name)}: {hint}")


def nearest(name: Any, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the allowed name most similar to ``name``; None if there is no similar name.

    Example:
        >>> nearest("pixl", ["image", "pixel"])
        'pixel'
    """
    if not isinstance(name, str):
        return None
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1, cutoff=cutoff)), None)


def check_dict(value: Any, where: str, allowed: Iterable[str] | None = None) -> dict[str, Any]:
    """Return a copy of the dict ``value``; an empty dict for None.

    Args:
        value: Value in the config.
        where: Part of the config, for the message.
        allowed: Allowed keys; None: any.

    Raises:
        ICKDError: If the value is no dict, or a key is not allowed.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ICKDError(f"{where} must be a dict, got {safe_repr(value)}.")
    if allowed is not None:
        check_names(value, allowed, where)
    return dict(value)


def parameters_of(kind: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments of a class or function.

    Example:
        >>> parameters_of(OptionError)
        ['name', 'value', 'rule']
    """
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind not in starred]


def check_integer(
    value: Any, least: int, name: str, none: bool = False, most: int = MAX_INTEGER
) -> None:
    """Raise an error unless the value is an integer from ``least`` to ``most`` (None if ``none``).

    Raises:
        OptionError: With the range.
    """
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        too_large = isinstance(value, int) and value > most
        rule = f"of at most {most}" if too_large else f"of at least {least}"
        other = " or None" if none else ""
        raise OptionError(name, value, f"it must be an integer {rule}{other}.")


def check_number(
    value: Any,
    name: str,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    infinite: bool = False,
) -> None:
    """Raise an error unless the value is a number in a range, and losses can be computed with it.

    Args:
        value: Value in the config.
        name: Name of the option.
        above: Exclusive lower bound.
        least: Inclusive lower bound.
        most: Inclusive upper bound.
        infinite: True if infinity is allowed.

    Raises:
        OptionError: With the range.

    Example:
        >>> check_number(2, "momentum", above=0, most=1)
        Traceback (most recent call last):
            ...
        mmickd.utils.errors.OptionError: momentum=2: it must be a number in (0, 1].
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    inside = real and above < value <= most and value >= least
    smallest = (
        MIN_NUMBER if above == 0 else -MAX_NUMBER
    )  # an option that must not be 0 is a divisor
    if inside and (smallest <= value <= MAX_NUMBER or (infinite and value == math.inf)):
        return
    if inside and value != math.inf:
        raise OptionError(name, value, f"it must lie between {smallest:g} and {MAX_NUMBER:g}.")
    if most < math.inf:
        rule = f"in {'(' if above >= least else '['}{max(above, least):g}, {most:g}]"
    else:
        rule = f"above {above:g}" if above >= least else f"of at least {least:g}"
    raise OptionError(name, value, f"it must be a number {rule}.".replace(*POSITIVE))


def check_choice(value: Any, choices: Iterable[Any], name: str) -> None:
    """Raise an error for a value that is not among the choices.

    Raises:
        OptionError: With the choices, and the most similar one.
    """
    choices = list(choices)
    # the types are compared since 1 == True, and since comparing arrays returns no bool
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return
    similar = nearest(value, map(str, choices))
    hint = f" Did you mean '{similar}'?" if similar else ""
    listed = ", ".join(str(c) for c in choices)
    raise OptionError(name, value, f"it must be one of {listed}.{hint}")


def check_flag(value: Any, name: str) -> None:
    """Raise an error unless the value is True or False.

    Raises:
        OptionError: For anything else.
    """
    check_choice(value, (True, False), name)


def check_path_or_url(value: Any, name: str) -> None:
    """Raise an error for a value that is neither a path nor a URL.

    Raises:
        OptionError: For anything else.
    """
    rule = "it must be a path or a URL."
    check_path(value, name, rule)
    try:
        urlparse(os.fspath(value))
    except ValueError as error:
        raise OptionError(name, value, rule) from error


def check_path(value: Any, name: str, rule: str) -> None:
    """Raise an error for a value that cannot be the path of a file or folder.

    Args:
        value: Value in the config.
        name: Name of the option.
        rule: Rule for valid values, for the message.

    Raises:
        OptionError: If the value is no text, is empty, or contains NUL or an unpaired surrogate.
    """
    try:
        is_path = isinstance(value, (str, os.PathLike)) and os.fspath(value)
        if is_path and b"\0" not in os.fsencode(value):
            return
    except UnicodeEncodeError:
        pass
    raise OptionError(name, value, rule)
