"""Paired tests, and their correction for a table of many."""

from __future__ import annotations

import math
from collections.abc import Sequence

ROUNDING = 1e-9
"""Deviation of equal differences by rounding, relative to the numbers."""


def paired_p(values: Sequence[float], to: Sequence[float]) -> float | None:
    """Return the two-sided p value of the paired t-test, or None where there is no test.

    There is none for fewer than two pairs, for a number that is not finite, and for differences
    that are all equal (up to rounding), which have no variance.

    Args:
        values: one number per seed.
        to: those of the same seeds to compare with.

    Raises:
        ValueError: if the two do not have the same number.

    Example:
        >>> round(paired_p([91.0, 81.0, 74.0], [90.0, 80.0, 70.0]), 4)
        0.1835
    """
    from scipy.stats import t  # which mmsegmentation and scikit-learn bring; for tables only

    differences = [a - b for a, b in zip(values, to, strict=True)]
    n = len(differences)
    if n < 2:
        return None
    mean = sum(differences) / n
    squares = sum((difference - mean) ** 2 for difference in differences)
    rounding = n * (ROUNDING * max(map(abs, (*values, *to)))) ** 2
    if not math.isfinite(squares) or squares <= rounding:
        return None
    return float(2 * t.sf(abs(mean) * (n * (n - 1) / squares) ** 0.5, n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values that hold for all of them together (Holm's step-down correction).

    Args:
        p_values: of single tests; NaN is no test, and stays NaN.

    Returns:
        The corrected ones, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    tests = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(sorted(tests, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(tests) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
