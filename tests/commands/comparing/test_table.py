"""The table's arithmetic, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from mmickd.commands.comparing.table import as_markdown, make_rows, note, paired_difference, spread


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


def test_rows_compare_students_only() -> None:
    values = {"teacher": [98.0], "student": [89.0, 91.0], "KD": [90.0, 92.0], "IC-KD": [91.0, 92.0]}
    rows = {row.name: row for row in make_rows(values, dict.fromkeys(values, 12.4))}
    assert rows["teacher"].to_kd is None and rows["KD"].to_kd is None
    assert rows["student"].to_kd is not None and rows["student"].to_kd.mean == -1.0
    assert rows["student"].to_kd.error == 0.0
    text = as_markdown("digits", "accuracy (%)", list(rows.values()))
    assert "| IC-KD | 91.50 ± 0.50 | +0.50 ± 0.50 | 12 | 91.00, 92.00 |" in text
    assert "| teacher | 98.00 |  | 12 | 98.00 |" in text


def test_note_knows_the_quantile() -> None:
    assert "exceed 4.3 of its" in note(3)
    assert "exceed 12.7 of its" in note(2)
    assert "cannot tell" in note(1)
