"""What a run leaves for the record: a line of JSON, without a path of the machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmickd.experiments.training_log import ms_per_step, parts
from mmickd.utils.atomic import atomic_write
from mmickd.utils.json_files import to_json

if TYPE_CHECKING:
    from mmickd.experiments.runs import RunSpec


def record(
    training: RunSpec, title: str, metric: str, points: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Return all that a table needs of a finished run.

    Args:
        training: the run.
        title: title of its plan.
        metric: key in the log; more is better.
        points: step and value of each validation; none: last and best are NaN.
    """
    job = training.job
    stamp = job.stamp() or {}
    return dict(
        plan=title,
        name=training.trainee.name,
        setting=training.setting.name,
        options=list(training.options),
        seed=training.seed,
        kind=training.kind,
        metric=metric,
        last=points[-1][1] if points else math.nan,
        best=max((value for _, value in points if math.isfinite(value)), default=math.nan),
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
    with atomic_write(file) as temporary:
        temporary.write_text("".join(f"{to_json(entry)}\n" for entry in records))
