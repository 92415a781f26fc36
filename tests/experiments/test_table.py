"""The table's arithmetic: numbers worked out by hand, scipy's test, Holm's definition."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from scipy import stats

from mmickd.experiments.plan import Published
from mmickd.experiments.table import as_markdown, holm, make_rows, mean_se, note, paired_p

Records = dict[str, list[dict[str, Any]]]


def records(**last: list[float]) -> Records:
    """Return the records of rows with these values; the best value of a run is one more."""
    return {
        (row := name.replace("_", "-")): [
            dict(name=row, setting="", last=value, best=value + 1, ms_per_step=12.4)
            for value in values
        ]
        for name, values in last.items()
    }


FOUR = records(teacher=[98.0], student=[89.0, 91.0], KD=[90.0, 92.0], IC_KD=[91.0, 92.0])


def test_the_standard_error() -> None:
    # deviations -1, 0, 1: variance 2 / 2 = 1, error 1 / sqrt(3)
    three = mean_se([90.0, 91.0, 92.0])
    assert three.mean == 91.0 and three.error == pytest.approx(0.5773502691896258)
    assert mean_se([5.0]).error is None and mean_se([5.0]).text() == "5.00"


def test_differences_are_paired_by_seed() -> None:
    # Both have the same spread; seed by seed the difference is 1, 1, 4: mean 2, error 1.
    rows = make_rows(records(KD=[90.0, 80.0, 70.0], a=[91.0, 81.0, 74.0]))
    assert rows[1].to["KD"].mean == pytest.approx(2.0)
    assert rows[1].to["KD"].error == pytest.approx(1.0)
    assert rows[1].to["KD"].text(signed=True) == "+2.00 ± 1.00"
    with pytest.raises(ValueError):
        make_rows(records(KD=[1.0, 2.0], a=[1.0]))


def test_rows_compare_students_only() -> None:
    rows = {row.name: row for row in make_rows(FOUR)}
    assert rows["teacher"].to == {} and rows["teacher"].p is None
    assert rows["KD"].to == {} and rows["KD"].p is None
    assert rows["student"].to["KD"].mean == -1.0 and rows["student"].to["KD"].error == 0.0
    text = as_markdown("digits", "accuracy (%)", list(rows.values()))
    assert "| digits | accuracy (%), last | best | paired difference to KD | p (Holm) |" in text
    # t = 1 with one degree of freedom: p = 0.5
    line = "| IC-KD | 91.50 ± 0.50 | 92.50 ± 0.50 | +0.50 ± 0.50 | 0.500 | 12 | 91.00, 92.00 |"
    assert line in text
    assert "| teacher | 98.00 | 99.00 |  |  | 12 | 98.00 |" in text
    assert "| student | 90.00 ± 1.00 | 91.00 ± 1.00 | -1.00 ± 0.00 |  |" in text


def test_a_row_without_a_finite_metric_changes_no_other_row() -> None:
    good = dict(KD=[70.0, 71.0, 72.0], a=[71.0, 72.3, 74.0], b=[72.0, 73.1, 74.2])
    expected = {row.name: row for row in make_rows(records(**good))}
    diverged = [70.0, float("nan"), 72.0]
    for values in (
        dict(good, x=diverged),
        dict(KD=good["KD"], x=diverged, a=good["a"], b=good["b"]),
    ):
        rows = {row.name: row for row in make_rows(records(**values))}
        assert rows.pop("x").p is None and rows == expected
    text = as_markdown("toy", "accuracy", make_rows(records(**dict(good, x=diverged))))
    assert "| x | n/a | n/a | n/a |  | 12 | 70.00, n/a, 72.00 |" in text
    without = make_rows(records(KD=diverged, a=good["a"]))
    assert without[1].p is None and "n/a" in as_markdown("toy", "accuracy", without)


def test_controls_have_a_column_each() -> None:
    rows = make_rows(FOUR, "KD", ["student"])
    assert rows[-1].to["student"].mean == 1.5
    text = as_markdown("digits", "accuracy", rows, "KD", ["student"])
    assert "| p (Holm) | to student | ms per step |" in text
    assert "| +0.50 ± 0.50 | 0.500 | +1.50 ± 0.50 | 12 |" in text
    assert "| KD | 91.00 ± 1.00 | 92.00 ± 1.00 |  |  | +1.00 ± 0.00 | 12 |" in text


def test_p_values_are_corrected_for_all_rows() -> None:
    values = records(KD=[1.0, 2.0, 3.0], a=[2.0, 3.1, 4.0], b=[3.0, 1.0, 5.0])
    rows = {row.name: row for row in make_rows(values)}
    assert rows["a"].p == pytest.approx(2 * paired_p([2.0, 3.1, 4.0], [1.0, 2.0, 3.0]))
    assert rows["b"].p == pytest.approx(paired_p([3.0, 1.0, 5.0], [1.0, 2.0, 3.0]))


def test_a_setting_that_was_chosen_has_a_column() -> None:
    chosen = {**FOUR, "KD": [{**run, "setting": "kd.loss_weight=3"} for run in FOUR["KD"]]}
    head, _, teacher, _, kd, _ = as_markdown("digits", "accuracy", make_rows(chosen)).splitlines()
    assert head.startswith("| digits | setting | accuracy, last |")
    assert kd.startswith("| KD | kd.loss_weight=3 | 91.00")
    assert teacher.startswith("| teacher |  | 98.00")
    # a row for each setting has it in its name
    rows = make_rows({"KD": FOUR["KD"], "KD (kd.loss_weight=3)": chosen["KD"]})
    assert [row.setting for row in rows] == ["", ""]


def test_published_numbers_have_a_column_if_there_are_any() -> None:
    published = {"KD": Published(91.5, "a paper", "best"), "teacher": None}
    text = as_markdown("digits", "accuracy", make_rows(FOUR, published=published))
    head, _, teacher, _, kd, _ = text.splitlines()
    assert head.startswith("| digits | accuracy, last | best | published | paired difference")
    assert kd.startswith("| KD | 91.00 ± 1.00 | 92.00 ± 1.00 | 91.50 (best) |  |")
    assert teacher.startswith("| teacher | 98.00 | 99.00 |  |  |")
    assert "published" not in as_markdown("digits", "accuracy", make_rows(FOUR))


def test_the_note_has_what_the_error_covers() -> None:
    assert "one teacher and one validation set" in note(3)
    assert "3 seeds of teacher and student" in note(3, teacher_per_seed=True)
    assert "one teacher" not in note(3, teacher_per_seed=True)
    assert "no standard error" in note(1)


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


def test_holm_leaves_out_nan() -> None:
    expected = holm([0.01, 0.03])
    for place in range(3):
        p_values = [0.01, 0.03]
        p_values.insert(place, math.nan)
        corrected = holm(p_values)
        assert math.isnan(corrected.pop(place)) and corrected == expected


def slow_holm(p_values: list[float]) -> list[float]:
    """Return the smallest level at which the step-down procedure rejects each of them."""

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
