"""What a run leaves for the record: a line of JSON, without a path of the machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmickd.commands.comparing.training_log import curve, ms_per_step, parts

if TYPE_CHECKING:
    from mmickd.commands.comparing.trainings import Training


def record(training: Training, title: str, metric: str) -> dict[str, Any]:
    """All that a table needs of a run that is done.

    Args:
        training: the run.
        title: of its plan.
        metric: key in the log; more is better.

    Raises:
        ValueError: if the log has no such metric.
    """
    job = training.job
    points = curve(job.folder, metric)
    stamp = job.stamp() or {}
    return dict(
        plan=title,
        name=training.trainee.name,
        setting=training.setting.name,
        options=list(training.options),
        seed=training.seed,
        kind=training.kind,
        metric=metric,
        last=points[-1][1],
        best=max(value for _, value in points),
        curve=points,
        unit=job.unit,
        parts=parts(job.folder),
        config=training.digest,
        versions=stamp.get("versions", {}),
        seconds=stamp.get("seconds"),
        ms_per_step=ms_per_step(job.folder),
    )


def write_lines(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one line of JSON for each; the file is the old or the new one, whatever happens."""
    part = file.with_name(file.name + ".part")
    part.write_text("".join(f"{json.dumps(one)}\n" for one in records))
    os.replace(part, file)
