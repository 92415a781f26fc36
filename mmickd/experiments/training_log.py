"""Progress, metric, time per step and checkpoint, from the files that mmengine's runs write."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any


def read_scalars(work_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of all ``vis_data/scalars.json`` below ``work_dir``; [] if there is none.

    A run writes a file at each start or resumption. If two files have the same step, the line of
    the later file is returned, as that part resumed from a checkpoint older than the end of the
    log.
    """
    lines: dict[tuple[bool, Any], dict[str, Any]] = {}
    for file in _files(work_dir):
        for text in file.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # the line that is being written
                break
            lines["loss" in line, line["step"]] = line
    return list(lines.values())


def _files(work_dir: Path) -> list[Path]:
    return sorted(work_dir.glob("*/vis_data/scalars.json"))


def count_starts(work_dir: Path) -> int:
    """Return the number of times that the run was started or resumed."""
    return len(_files(work_dir))


def steps_done(work_dir: Path, unit: str) -> int:
    """Return the number of logged epochs or iterations (``unit``: 'epoch' or 'iter')."""
    lines = [line for line in read_scalars(work_dir) if "loss" in line]
    return max((int(line.get(unit, 0)) for line in lines), default=0)


def validations(work_dir: Path, metric: str) -> list[list[float]]:
    """Return step (epoch or iteration, in the unit of the run) and metric of each validation."""
    return [
        [line["step"], float(line[metric])] for line in read_scalars(work_dir) if metric in line
    ]


def ms_per_step(work_dir: Path) -> float:
    """Return the median time of a training step in milliseconds, data loading included."""
    times = [float(line["time"]) for line in read_scalars(work_dir) if "loss" in line]
    return 1000 * median(times[1:] or times) if times else float("nan")


def last_checkpoint(work_dir: Path) -> Path:
    """Return the last checkpoint by mmengine's ``last_checkpoint``, also in a moved folder.

    Raises:
        OSError: If the file ``last_checkpoint`` does not exist.
    """
    named = Path((work_dir / "last_checkpoint").read_text().strip())
    moved = work_dir / named.name
    return moved if moved.is_file() and not named.is_file() else named
