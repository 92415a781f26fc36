"""Successive halving: who has done better so far gets more trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TypeVar

T = TypeVar("T")


def ranked(scores: Mapping[T, Sequence[float]]) -> list[T]:
    """Return the settings by falling mean; of equal means the first one named comes first.

    Args:
        scores: one number per trial of each setting, as many for all; more is better. A setting
            with a number that is not finite comes last.
    """
    means = {setting: mean(values) for setting, values in scores.items()}
    worst = -math.inf
    return sorted(means, key=lambda s: means[s] if math.isfinite(means[s]) else worst, reverse=True)


def better_half(scores: Mapping[T, Sequence[float]]) -> list[T]:
    """The better half of them, rounded up, best first.

    Example:
        >>> better_half({"a": [1.0], "b": [3.0], "c": [2.0]})
        ['b', 'c']
    """
    return ranked(scores)[: (len(scores) + 1) // 2]
