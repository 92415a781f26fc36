"""Logs and checkpoints of mmengine's runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.training_log import (
    count_starts,
    last_checkpoint,
    ms_per_step,
    read_scalars,
    steps_done,
    validations,
)


def write(
    work_dir: Path, *lines: dict[str, Any], run: str = "20250101_000000", end: str = ""
) -> Path:
    """Write the log of a run."""
    folder = work_dir / run / "vis_data"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "scalars.json").write_text(text + end)
    return work_dir


def step(number: int, **values: Any) -> dict[str, Any]:
    epoch = (number + 1) // 2
    return dict(loss=1.0 / number, time=0.1, epoch=epoch, iter=number, step=number, **values)


def test_a_run_that_has_logged_nothing_yet(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert read_scalars(folder) == [] and steps_done(folder, "iter") == 0
        assert math.isnan(ms_per_step(folder))


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, step(1), step(2), end='{"loss": 0.3, "it')
    assert read_scalars(tmp_path) == [step(1), step(2)]
    assert steps_done(tmp_path, "iter") == 2


def test_parts_of_a_resumed_run_are_joined(tmp_path: Path) -> None:
    """The run was stopped after step 4, and resumed from the checkpoint of step 2."""
    later = dict(lr=0.5)
    first = [*map(step, (1, 2)), {"mIoU": 10.0, "step": 2}, *map(step, (3, 4))]
    second = [step(3, **later), step(4, **later), {"mIoU": 20.0, "step": 4}]
    write(tmp_path, *second, run="20260101_000000")
    write(tmp_path, *first, run="20251231_235959", end='{"loss"')
    assert read_scalars(tmp_path) == [*first[:3], *second]
    assert validations(tmp_path, "mIoU") == [[2, 10.0], [4, 20.0]]
    assert count_starts(tmp_path) == 2


@pytest.mark.parametrize(("unit", "expected"), [("iter", 5), ("epoch", 3)])
def test_steps_are_those_of_training(tmp_path: Path, unit: str, expected: int) -> None:
    """Lines of validation have steps too, which are no training steps."""
    validation = {"accuracy/top1": 80.0, "step": 99, "iter": 99, "epoch": 99}
    write(tmp_path, *(step(i) for i in range(1, 6)), validation)
    assert steps_done(tmp_path, unit) == expected


def test_the_curve_of_a_metric(tmp_path: Path) -> None:
    values = [{"mIoU": 10.0, "step": 1}, {"mIoU": 30.0, "aAcc": 90.0, "step": 2}]
    write(tmp_path, values[0], step(1), values[1], {"mIoU": 20, "step": 3}, step(2))
    assert validations(tmp_path, "mIoU") == [[1, 10.0], [2, 30.0], [3, 20.0]]
    assert validations(tmp_path, "aAcc") == [[2, 90.0]]
    assert validations(tmp_path, "accuracy/top1") == []


def test_the_time_of_a_step_is_a_median_without_the_first(tmp_path: Path) -> None:
    """The first step sets up workers and memory."""
    times = [90.0, 0.2, 0.1, 0.4]
    lines = [dict(loss=1.0, time=time, step=step) for step, time in enumerate(times, 1)]
    write(tmp_path, *lines, {"mIoU": 1.0, "time": 50.0, "step": 4})  # of validation
    assert ms_per_step(tmp_path) == pytest.approx(200.0)


def test_the_time_of_a_run_of_one_step(tmp_path: Path) -> None:
    assert ms_per_step(write(tmp_path, dict(loss=1.0, time=0.3, step=1))) == pytest.approx(300.0)


def test_the_last_checkpoint_is_read_from_mmengines_file(tmp_path: Path) -> None:
    (tmp_path / "last_checkpoint").write_text(f"{tmp_path}/epoch_9.pth\n")
    assert last_checkpoint(tmp_path) == tmp_path / "epoch_9.pth"
