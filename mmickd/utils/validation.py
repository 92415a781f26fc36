"""Checking what a config says, before anything is built from it."""

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
LARGEST_INTEGER = 2**32 - 1
"""Of an option: no size is larger, and no seed of numpy's."""
SMALLEST, LARGEST = 1e-12, 1e12
"""Numbers by which losses can be multiplied and divided, and stay finite in float32."""


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
        near = nearest(name, allowed, cutoff=0.5)
        listed = f"it takes {', '.join(allowed)}{otherwise}."
        hint = f"did you mean '{near}'?" if near else listed
        raise ICKDError(f"{where} has no option {safe_repr(name)}: {hint}")


def nearest(name: Any, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like ``name``; None where none is, or ``name`` is no text.

    Example:
        >>> nearest("pixl", ["image", "pixel"])
        'pixel'
    """
    if not isinstance(name, str):
        return None
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


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
        raise ICKDError(f"{where} must be a dict, got {safe_repr(given)}.")
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


def check_integer(
    value: Any, least: int, name: str, none: bool = False, most: int = LARGEST_INTEGER
) -> None:
    """Refuse all but integers from ``least`` to ``most`` (and None, if allowed).

    Raises:
        OptionError: with the range.
    """
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        too_large = isinstance(value, int) and value > most
        needed = f"of at most {most}" if too_large else f"of at least {least}"
        other = " or None" if none else ""
        raise OptionError(name, value, f"it must be an integer {needed}{other}.")


def check_number(
    value: Any,
    name: str,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    infinite: bool = False,
) -> None:
    """Refuse all but numbers of a range, and of a size that losses can be computed with.

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
    inside = real and above < value <= most and value >= least
    smallest = SMALLEST if above == 0 else -LARGEST  # what must not be 0 is divided by
    if inside and (smallest <= value <= LARGEST or (infinite and value == math.inf)):
        return
    if inside and value != math.inf:
        raise OptionError(name, value, f"it must lie between {smallest:g} and {LARGEST:g}.")
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
    near = nearest(value, map(str, choices))
    hint = f" Did you mean '{near}'?" if near else ""
    listed = ", ".join(str(c) for c in choices)
    raise OptionError(name, value, f"it must be one of {listed}.{hint}")


def check_flag(value: Any, name: str) -> None:
    """Refuse all but True and False.

    Raises:
        OptionError: for anything else.
    """
    check_choice(value, (True, False), name)


def check_path_or_url(value: Any, name: str) -> None:
    """Refuse what is neither a path nor a URL.

    Raises:
        OptionError: for anything else.
    """
    needed = "it must be a path or a URL."
    check_path(value, name, needed)
    try:
        urlparse(os.fspath(value))
    except ValueError as error:
        raise OptionError(name, value, needed) from error


def check_path(value: Any, name: str, needed: str) -> None:
    """Refuse what can be no path of a file or folder.

    Args:
        value: of a config.
        name: of the option.
        needed: what it may be, for the message.

    Raises:
        OptionError: for what is no text, is empty, or holds a NUL or half of a character.
    """
    try:
        is_path = isinstance(value, (str, os.PathLike)) and os.fspath(value)
        if is_path and b"\0" not in os.fsencode(value):
            return
    except UnicodeEncodeError:
        pass
    raise OptionError(name, value, needed)
