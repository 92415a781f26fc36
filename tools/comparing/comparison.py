"""A comparison that a JSON file describes: one teacher, several students, paired seeds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from comparing.environment import TOOLS
from comparing.jobs import Job
from comparing.table import as_json, as_markdown, make_rows, note
from comparing.training_log import final_metric, ms_per_step

NEEDED = {"metric", "teacher", "students"}
KNOWN = {*NEEDED, "title", "shown", "options", "reference"}


@dataclass(frozen=True)
class Comparison:
    """The jobs of a comparison.

    Args:
        title: heading of the table.
        metric: its key in the log.
        shown: what the table calls it.
        reference: the student that the others are compared to.
        teacher: trains the teacher.
        students: by name, a job per seed.
    """

    title: str
    metric: str
    shown: str
    reference: str
    teacher: Job
    students: dict[str, list[Job]]

    def jobs(self) -> list[Job]:
        """All jobs, the teacher first; seeds before students, to fail early."""
        students = [job for seed in zip(*self.students.values(), strict=True) for job in seed]
        return [self.teacher, *students]

    def table(self) -> tuple[str, list[dict[str, Any]]]:
        """Results as Markdown and as JSON-serialisable rows."""
        runs = {"teacher": [self.teacher], **self.students}
        values = {n: [final_metric(j.folder, self.metric) for j in js] for n, js in runs.items()}
        ms = {name: median(ms_per_step(job.folder) for job in jobs) for name, jobs in runs.items()}
        rows = make_rows(values, ms, self.reference)
        text = as_markdown(self.title, self.shown, rows, self.reference)
        return f"{text}\n\n{note(len(self.students[self.reference]))}", as_json(rows)


def read_comparison(
    file: Path, out: Path, seeds: Sequence[int], options: Sequence[str]
) -> Comparison:
    """Lay out the jobs that ``file`` describes.

    Args:
        file: the description, see ``benchmarks/README.md``.
        out: folder of all runs.
        seeds: of the students; the teacher takes its own ``seed``, or the first of them.
        options: ``--cfg-options`` of every run, after those in the file.

    Raises:
        ValueError: if the description is not as it must be.
    """
    plan = json.loads(file.read_text())
    wrong = (NEEDED - set(plan)) | (set(plan) - KNOWN)
    if wrong:
        raise ValueError(f"{file}: keys that are missing or unknown: {', '.join(sorted(wrong))}")
    reference = plan.get("reference", "KD")
    if reference not in plan["students"]:
        raise ValueError(f"{file}: students have no '{reference}' to compare the others to")
    common = [*plan.get("options", []), *options]
    seed = plan["teacher"].get("seed", seeds[0])
    teacher = _training("teacher", plan["teacher"], out / "teacher", seed, common, ())
    checkpoint = teacher.folder / f"{teacher.unit}_{teacher.steps}.pth"
    students = {
        name: [
            _training(
                f"{name} seed {seed}", entry, out / f"{_slug(name)}_seed{seed}", seed,
                common, (teacher,), checkpoint,
            )
            for seed in seeds
        ]
        for name, entry in plan["students"].items()
    }  # fmt: skip
    shown = plan.get("shown", plan["metric"])
    title = plan.get("title", file.stem)
    return Comparison(title, plan["metric"], shown, reference, teacher, students)


def _training(
    name: str,
    entry: Mapping[str, Any],
    folder: Path,
    seed: int,
    common: Sequence[str],
    after: tuple[Job, ...],
    teacher: Path | None = None,
) -> Job:
    from mmengine.config import Config, DictAction

    config = TOOLS.parent / entry["config"]
    options = [*common, *entry.get("options", [])]
    cfg = Config.fromfile(config)
    if teacher is not None and _reads_checkpoint(cfg):
        options.append(f"custom_hooks.0.teacher.checkpoint={teacher}")
    given = (option.split("=", 1) for option in options)
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in given})
    unit = "epoch" if "max_epochs" in cfg.train_cfg else "iter"
    steps = int(cfg.train_cfg[f"max_{unit}s"])
    command = [sys.executable, str(TOOLS / "train.py"), str(config), "--seed", str(seed)]
    command += ["--work-dir", str(folder)]
    if options:
        command += ["--cfg-options", *options]
    cost = float(entry.get("minutes", 10)) * 60
    return Job(name, command, folder, cfg.dump(), after, cost, steps, unit)


def _reads_checkpoint(cfg: Any) -> bool:
    """Whether the teacher of the first hook is a trained one; others learn with the student."""
    hooks = cfg.get("custom_hooks") or [{}]
    return "checkpoint" in hooks[0].get("teacher", {})


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()
