"""Progress, metric, time per step and checkpoint, from the files that mmengine's runs leave."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any


def read_scalars(work_dir: Path) -> list[dict[str, Any]]:
    """The lines of the newest ``vis_data/scalars.json`` below ``work_dir``, [] if there is none."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        return []
    lines = []
    for line in files[-1].read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the line that is being written
            break
    return lines


def steps_done(work_dir: Path, unit: str) -> int:
    """Epochs or iterations (``unit``: 'epoch' or 'iter') that the log knows of."""
    lines = [line for line in read_scalars(work_dir) if "loss" in line]
    return max((int(line.get(unit, 0)) for line in lines), default=0)


def final_metric(work_dir: Path, metric: str) -> float:
    """The last value of ``metric``.

    Raises:
        ValueError: If the log does not have it.
    """
    values = [float(line[metric]) for line in read_scalars(work_dir) if metric in line]
    if not values:
        raise ValueError(
            f"no '{metric}' in the log below {work_dir}. Delete that folder and run again."
        )
    return values[-1]


def ms_per_step(work_dir: Path) -> float:
    """Median time of a training step in milliseconds, data loading included."""
    times = [float(line["time"]) for line in read_scalars(work_dir) if "loss" in line]
    return 1000 * median(times[1:] or times) if times else float("nan")


def last_checkpoint(work_dir: Path) -> Path:
    """The checkpoint that mmengine names as the last one."""
    return Path((work_dir / "last_checkpoint").read_text().strip())
