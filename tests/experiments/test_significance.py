"""Paired tests and Holm's correction, against scipy's and a loop over the definition."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from mmickd.experiments.significance import holm, paired_p


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_paired_test_is_scipys(n: int) -> None:
    draw = random.Random(n)
    for _ in range(5):
        a, b = ([draw.gauss(70, 2) for _ in range(n)] for _ in range(2))
        assert paired_p(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


def test_differences_without_variance_have_no_p_value() -> None:
    assert paired_p([1.0, 2.0], [1.0, 2.0]) is None
    assert paired_p([70.1, 71.1, 72.1], [70.0, 71.0, 72.0]) is None  # equal but for rounding
    assert paired_p([2.0], [1.0]) is None
    assert paired_p([1.0, math.nan], [1.0, 3.0]) is None
    with pytest.raises(ValueError):
        paired_p([1.0, 2.0], [1.0])


def test_holm_leaves_out_what_is_no_test() -> None:
    want = holm([0.01, 0.03])
    for place in range(3):
        p_values = [0.01, 0.03]
        p_values.insert(place, math.nan)
        corrected = holm(p_values)
        assert math.isnan(corrected.pop(place)) and corrected == want


def slow_holm(p_values: list[float]) -> list[float]:
    """Smallest level at which the step-down procedure rejects each of them."""

    def rejected(level: float) -> set[int]:
        left, out = set(range(len(p_values))), set()
        while left:
            i = min(left, key=lambda j: p_values[j])
            if p_values[i] * len(left) > level:
                break
            left.remove(i)
            out.add(i)
        return out

    levels = sorted({k * p for p in p_values for k in range(1, len(p_values) + 1)})
    return [
        min(1.0, next((level for level in levels if i in rejected(level)), 1.0))
        for i in range(len(p_values))
    ]


def test_holms_correction_is_the_level_at_which_each_is_rejected() -> None:
    draw = random.Random(0)
    for n in (0, 1, 2, 3, 6):
        for _ in range(20):
            p_values = [draw.random() ** 3 for _ in range(n)]
            assert holm(p_values) == pytest.approx(slow_holm(p_values))
