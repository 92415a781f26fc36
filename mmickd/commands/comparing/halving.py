"""Successive halving: who has done better so far gets more trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TypeVar

T = TypeVar("T")


def ranked(scores: Mapping[T, Sequence[float]]) -> list[T]:
    """Who is in the race, best mean first; of equal ones the one that was named first.

    Args:
        scores: of each, one number per trial, as many for all; more is better.
    """
    return sorted(scores, key=lambda one: mean(scores[one]), reverse=True)


def better_half(scores: Mapping[T, Sequence[float]]) -> list[T]:
    """The better half of them, rounded up, best first.

    Example:
        >>> better_half({"a": [1.0], "b": [3.0], "c": [2.0]})
        ['b', 'c']
    """
    return ranked(scores)[: (len(scores) + 1) // 2]
