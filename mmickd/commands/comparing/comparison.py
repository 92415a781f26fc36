"""A comparison that a JSON file describes: one teacher, several students, paired seeds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mmengine.config import Config, DictAction

from mmickd.commands.comparing.jobs import Job
from mmickd.commands.comparing.table import Row, as_markdown, make_rows
from mmickd.commands.comparing.training_log import final_metric, ms_per_step
from mmickd.utils.config import find_config, find_file

NEEDED = {"metric", "teacher", "students"}
KNOWN = {*NEEDED, "title", "shown", "options", "reference", "data"}


@dataclass(frozen=True)
class Comparison:
    """The jobs of a comparison.

    Args:
        title: heading of the table.
        metric: its key in the log.
        shown: what the table calls it.
        reference: the student that the others are compared to.
        data: makes the data set; None where it must be there.
        teacher: trains the teacher.
        students: by name, a job per seed.
    """

    title: str
    metric: str
    shown: str
    reference: str
    data: Job | None
    teacher: Job
    students: dict[str, list[Job]]

    def jobs(self) -> list[Job]:
        """All jobs, data and teacher first; seeds before students, to fail early."""
        students = [job for seed in zip(*self.students.values(), strict=True) for job in seed]
        return [*([self.data] if self.data else []), self.teacher, *students]

    @property
    def seeds(self) -> int:
        """Of each student."""
        return len(self.students[self.reference])

    def rows(self) -> list[Row]:
        """Results, from the logs of the runs."""
        runs = {"teacher": [self.teacher], **self.students}
        values = {n: [final_metric(j.folder, self.metric) for j in js] for n, js in runs.items()}
        ms = {name: median(ms_per_step(job.folder) for job in jobs) for name, jobs in runs.items()}
        return make_rows(values, ms, self.reference)

    def as_markdown(self) -> str:
        """The table."""
        return as_markdown(self.title, self.shown, self.rows(), self.reference)


def read_comparison(
    file: Path, out: Path, seeds: Sequence[int], options: Sequence[str] = (), quick: bool = False
) -> Comparison:
    """Lay out the jobs that ``file`` describes.

    Args:
        file: the description, see ``benchmarks/README.md``.
        out: folder of all runs.
        seeds: of the students; the teacher takes its own ``seed``, or the first of them.
        options: ``--cfg-options`` of every run, after those in the file.
        quick: train a step or two only, to see everything work.

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
    title = plan.get("title", file.stem)
    data = _data(plan["data"], title, out, quick) if "data" in plan else None
    places = {"{out}": str(out), "{data}": str(_from_here(out / "data" / "set"))}

    def training(name: str, entry: Mapping[str, Any], folder: Path, seed: int, *after: Job) -> Job:
        given = [*plan.get("options", []), *options, *entry.get("options", [])]
        for place, path in places.items():
            given = [option.replace(place, path) for option in given]
        return _training(f"{title} {name}", entry, folder, seed, given, after, data, quick)

    seed = plan["teacher"].get("seed", seeds[0])
    teacher = training("teacher", plan["teacher"], out / "teacher", seed)
    students = {
        name: [
            training(f"{name}, seed {s}", entry, out / f"{_slug(name)}_seed{s}", s, teacher)
            for s in seeds
        ]
        for name, entry in plan["students"].items()
    }
    shown = plan.get("shown", plan["metric"])
    return Comparison(title, plan["metric"], shown, reference, data, teacher, students)


def _data(entry: Mapping[str, Any], title: str, out: Path, quick: bool) -> Job:
    """The job that makes the data set in ``out/data/set``."""
    script = find_file(entry["converter"], "data.converter")
    arguments = [*entry.get("arguments", []), *(entry.get("quick", []) if quick else [])]
    command = [sys.executable, script, "--out", str(out / "data" / "set"), *arguments]
    return Job(f"{title} data", command, out / "data", Path(script).read_text())


def _from_here(path: Path) -> Path:
    """Relative, if it lies below the working directory.

    Which pixels are drawn depends on the paths of the images: so it is the same in every checkout.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _training(
    name: str,
    entry: Mapping[str, Any],
    folder: Path,
    seed: int,
    options: list[str],
    teacher: tuple[Job, ...],
    data: Job | None,
    quick: bool,
) -> Job:
    config = find_config(entry["config"], "config")
    cfg = Config.fromfile(config)
    after = [data] if data else []
    if teacher and _reads_checkpoint(cfg):
        after += teacher
        file = teacher[0].folder / f"{teacher[0].unit}_{teacher[0].steps}.pth"
        options = [*options, f"custom_hooks.0.teacher.checkpoint={file}"]
    unit = "epoch" if "max_epochs" in cfg.train_cfg else "iter"
    if quick:
        few = 2 if unit == "epoch" else 10
        options += [f"train_cfg.max_{unit}s={few}", f"train_cfg.val_interval={few}"]
        options += [f"default_hooks.checkpoint.interval={few}", "default_hooks.logger.interval=1"]
    given = (option.split("=", 1) for option in options)
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in given})
    command = [sys.executable, "-m", "mmickd.commands.train", config, "--seed", str(seed)]
    command += ["--work-dir", str(folder)]
    if options:
        command += ["--cfg-options", *options]
    cost = 10.0 if quick else 60 * float(entry.get("minutes", 10))
    steps = int(cfg.train_cfg[f"max_{unit}s"])
    return Job(name, command, folder, cfg.dump(), tuple(after), cost, steps, unit)


def _reads_checkpoint(cfg: Any) -> bool:
    """Whether the teacher of the first hook is a trained one; others learn with the student."""
    hooks = cfg.get("custom_hooks") or [{}]
    return "checkpoint" in hooks[0].get("teacher", {})


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()
