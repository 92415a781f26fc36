"""Paired tests, and their correction for a table of many."""

from __future__ import annotations

from collections.abc import Sequence


def paired_p(values: Sequence[float], to: Sequence[float]) -> float | None:
    """Two-sided p value of the paired t-test; None for fewer than two pairs.

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
    squares = sum((one - mean) ** 2 for one in differences)
    if squares == 0:  # always the same difference
        return float(mean == 0)
    return float(2 * t.sf(abs(mean) * (n * (n - 1) / squares) ** 0.5, n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values that hold for all of them together (Holm's step-down correction).

    Args:
        p_values: of single tests.

    Returns:
        The corrected ones, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
