"""The table's arithmetic, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmickd.experiments.published import Published
from mmickd.experiments.significance import paired_p
from mmickd.experiments.table import (
    SeedResults,
    as_markdown,
    make_rows,
    missing_note,
    note,
    paired_difference,
    spread,
)


def test_standard_error_by_hand() -> None:
    # deviations -1, 0, 1: variance 2 / 2 = 1, error 1 / sqrt(3)
    found = spread([90.0, 91.0, 92.0])
    assert found.mean == 91.0
    assert found.error == pytest.approx(0.5773502691896258)


def test_one_value_has_no_error() -> None:
    assert spread([5.0]).error is None
    assert spread([5.0]).text() == "5.00"


def test_difference_is_paired_by_seed() -> None:
    # Both have the same spread; seed by seed the difference is 1, 1, 4: mean 2, error 1.
    found = paired_difference([91.0, 81.0, 74.0], [90.0, 80.0, 70.0])
    assert found.mean == pytest.approx(2.0)
    assert found.error == pytest.approx(1.0)
    assert found.text(signed=True) == "+2.00 ± 1.00"


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as many values"):
        paired_difference([1.0], [1.0, 2.0])


def outcomes(**last: list[float]) -> dict[str, SeedResults]:
    return {
        name.replace("_", "-"): SeedResults(tuple(v), tuple(x + 1 for x in v), 12.4)
        for name, v in last.items()
    }


FOUR = outcomes(teacher=[98.0], student=[89.0, 91.0], KD=[90.0, 92.0], IC_KD=[91.0, 92.0])


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
    want = {row.name: row for row in make_rows(outcomes(**good))}
    diverged = [70.0, float("nan"), 72.0]
    for values in (
        dict(good, x=diverged),
        dict(KD=good["KD"], x=diverged, a=good["a"], b=good["b"]),
    ):
        rows = {row.name: row for row in make_rows(outcomes(**values))}
        assert rows.pop("x").p is None and rows == want
    rows = make_rows(outcomes(**dict(good, x=diverged)))
    text = as_markdown("toy", "accuracy", rows)
    assert "| x | n/a | n/a | n/a |  | 12 | 70.00, n/a, 72.00 |" in text
    assert missing_note(rows).endswith(": x.") and missing_note(rows[:3]) == ""
    without = make_rows(outcomes(KD=diverged, a=good["a"]))
    assert without[1].p is None and "n/a" in as_markdown("toy", "accuracy", without)


def test_further_references_have_columns_of_their_own() -> None:
    rows = make_rows(FOUR, "KD", ["student"])
    assert rows[-1].to["student"].mean == 1.5
    text = as_markdown("digits", "accuracy", rows, "KD", ["student"])
    assert "| p (Holm) | to student | ms per step |" in text
    assert "| +0.50 ± 0.50 | 0.500 | +1.50 ± 0.50 | 12 |" in text
    assert "| KD | 91.00 ± 1.00 | 92.00 ± 1.00 |  |  | +1.00 ± 0.00 | 12 |" in text


def test_p_values_are_of_all_rows_together() -> None:
    values = outcomes(KD=[1.0, 2.0, 3.0], a=[2.0, 3.1, 4.0], b=[3.0, 1.0, 5.0])
    rows = {row.name: row for row in make_rows(values)}
    assert rows["a"].p == pytest.approx(2 * paired_p([2.0, 3.1, 4.0], [1.0, 2.0, 3.0]))
    assert rows["b"].p == pytest.approx(paired_p([3.0, 1.0, 5.0], [1.0, 2.0, 3.0]))


def test_what_was_chosen_has_a_column() -> None:
    chosen = {**FOUR, "KD": SeedResults((90.0, 92.0), (90.0, 92.0), 1.0, "kd.loss_weight=3")}
    head, _, teacher, _, kd, _ = as_markdown("digits", "accuracy", make_rows(chosen)).splitlines()
    assert head.startswith("| digits | setting | accuracy, last |")
    assert kd.startswith("| KD | kd.loss_weight=3 | 91.00")
    assert teacher.startswith("| teacher |  | 98.00")


def test_published_numbers_have_a_column_if_there_are_any() -> None:
    published = Published(91.5, "a paper", "best")
    some = {**FOUR, "KD": replace(FOUR["KD"], published=published)}
    head, _, teacher, _, kd, _ = as_markdown("digits", "accuracy", make_rows(some)).splitlines()
    assert head.startswith("| digits | accuracy, last | best | published | paired difference")
    assert kd.startswith("| KD | 91.00 ± 1.00 | 92.00 ± 1.00 | 91.50 (best) |  |")
    assert teacher.startswith("| teacher | 98.00 | 99.00 |  |  |")
    assert "published" not in as_markdown("digits", "accuracy", make_rows(FOUR))


def test_note_says_what_the_error_covers() -> None:
    assert "There is one teacher and one validation set" in note(3)
    assert "seeds, of teacher and student" in note(3, teachers=True)
    assert "one teacher" not in note(3, teachers=True)
    assert "cannot tell" in note(1)
