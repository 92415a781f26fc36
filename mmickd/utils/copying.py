"""Copies of objects that are used beside the originals."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def copy_with_state(original: T, shared: Iterable[Any] = ()) -> T:
    """Copy an object with its state (generators, counters, caches), as far as it can be copied.

    Attributes that cannot be copied (modules, locks, handles of a GPU library) are shared.

    Args:
        original: to be copied.
        shared: objects that the copy refers to wherever the original does.

    Example:
        >>> import random
        >>> class Dice:
        ...     def __init__(self):
        ...         self.chance, self.module = random.Random(0), random
        >>> dice = Dice()
        >>> other = copy_with_state(dice)
        >>> other.module is dice.module, other.chance.random() == dice.chance.random()
        (True, True)
    """
    memo = {id(thing): thing for thing in shared}
    try:
        return copy.deepcopy(original, dict(memo))
    except Exception:  # whatever an object raises that refuses to be copied
        made = copy.copy(original)
    for name, value in vars(original).items():
        tried = dict(memo)  # a copy that fails half-way leaves parts behind
        try:
            vars(made)[name] = copy.deepcopy(value, tried)
        except Exception:
            continue
        memo = tried
    return made
