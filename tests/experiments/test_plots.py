"""The picture of a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmickd.experiments.plots import draw_curves, draw_rows, mean_curve
from mmickd.experiments.table import make_rows
from tests.experiments.test_table import records


def test_the_mean_has_the_steps_of_all_seeds() -> None:
    steps, values = mean_curve([[[1, 2.0], [3, 4.0], [4, 9.0]], [[1, 4.0], [2, 5.0], [4, 7.0]]])
    assert steps == [1, 4]
    assert [v.mean for v in values] == [3.0, 8.0]
    assert [v.error for v in values] == pytest.approx([1.0, 1.0])


def test_a_picture_is_written(tmp_path: Path) -> None:
    single, several = [[[1, 2.0], [2, 4.0]]], [[[1, 1.0], [2, 3.0]], [[1, 2.0], [2, 5.0]]]
    draw_curves(tmp_path / "one.png", "toy", "accuracy", "epoch", {"KD": single})
    draw_curves(tmp_path / "two.png", "toy", "accuracy", "epoch", {"KD": single, "IC-KD": several})
    first, second = (Image.open(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert first.size == second.size == (960, 600)
    assert first.tobytes() != second.tobytes()


def test_a_picture_of_the_rows_is_written(tmp_path: Path) -> None:
    rows = make_rows(records(teacher=[80.0], KD=[70.0, 71.0], IC_KD=[75.0, 77.0]))
    draw_rows(tmp_path / "rows.png", "toy", "accuracy", rows)
    draw_rows(tmp_path / "fewer.png", "toy", "accuracy", rows[:2])
    picture, fewer = (Image.open(tmp_path / f"{name}.png") for name in ("rows", "fewer"))
    assert picture.width == fewer.width == 960 and picture.height > fewer.height
