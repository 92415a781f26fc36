"""The picture of a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmickd.experiments.plots import draw_curves, draw_rows, mean_curve
from mmickd.experiments.table import SeedResults, make_rows


def test_the_mean_is_over_all_seeds_or_not_there() -> None:
    steps, spreads = mean_curve([[[1, 2.0], [3, 4.0], [4, 9.0]], [[1, 4.0], [2, 5.0], [4, 7.0]]])
    assert steps == [1, 4]
    assert [s.mean for s in spreads] == [3.0, 8.0]
    assert [s.error for s in spreads] == pytest.approx([1.0, 1.0])


def test_a_picture_is_written(tmp_path: Path) -> None:
    one, many = [[[1, 2.0], [2, 4.0]]], [[[1, 1.0], [2, 3.0]], [[1, 2.0], [2, 5.0]]]
    draw_curves(tmp_path / "one.png", "toy", "accuracy", "epoch", {"KD": one})
    draw_curves(tmp_path / "two.png", "toy", "accuracy", "epoch", {"KD": one, "IC-KD": many})
    first, second = (Image.open(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert first.size == second.size == (960, 600)
    assert first.tobytes() != second.tobytes()


def test_a_picture_of_the_rows_is_written(tmp_path: Path) -> None:
    outcomes = {
        "teacher": SeedResults((80.0,), (81.0,), 5.0),
        "KD": SeedResults((70.0, 71.0), (70.5, 71.0), 4.0),
        "IC-KD": SeedResults((75.0, 77.0), (75.5, 77.0), 4.5),
    }
    rows = make_rows(outcomes, "KD", [])
    draw_rows(tmp_path / "rows.png", "toy", "accuracy", rows)
    draw_rows(tmp_path / "fewer.png", "toy", "accuracy", rows[:2])
    picture, fewer = (Image.open(tmp_path / f"{name}.png") for name in ("rows", "fewer"))
    assert picture.width == fewer.width == 960 and picture.height > fewer.height
