"""Copies of objects, including their state."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def copy_with_state(original: T, shared: Iterable[Any] = ()) -> T:
    """Copy an object with its state (generators, counters, caches), as far as it can be copied.

    Attributes that cannot be copied (modules, locks, handles of a GPU library) are shared.

    Args:
        original: The object to copy.
        shared: Objects that are not copied, but shared with the original.

    Example:
        >>> import random
        >>> class Dice:
        ...     def __init__(self):
        ...         self.generator, self.module = random.Random(0), random
        >>> dice = Dice()
        >>> other = copy_with_state(dice)
        >>> other.module is dice.module, other.generator.random() == dice.generator.random()
        (True, True)
    """
    memo = {id(value): value for value in shared}
    try:
        return copy.deepcopy(original, dict(memo))
    except Exception:  # an object may raise anything when it is copied
        clone = copy.copy(original)
    for name, value in vars(original).items():
        trial = dict(memo)  # a copy that fails leaves entries in the memo
        try:
            vars(clone)[name] = copy.deepcopy(value, trial)
        except Exception:
            continue
        memo = trial
    return clone
