"""Runs of a plan: command, folder, inputs and record of each run."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmickd.experiments.jobs import TEACHER, Job
from mmickd.experiments.plan import Entry, Plan, Setting
from mmickd.experiments.training_log import count_starts, ms_per_step, validations
from mmickd.hooks.entries import is_ickd_hook
from mmickd.utils.config import find_config, find_file, parse_options
from mmickd.utils.digest import digest
from mmickd.version import __version__

Record = dict[str, Any]
"""Line of ``results.jsonl`` on one run; see ``docs/commands/compare.md``."""


@dataclass(frozen=True, eq=False)
class RunSpec:
    """Run of a plan."""

    job: Job
    plan: Plan
    kind: str  # 'teacher', 'trial' of a selection, or 'report'
    entry: Entry
    setting: Setting
    seed: int
    options: tuple[str, ...]  # of plan, entry and setting; placeholders such as ``{out}`` stay
    digest: str  # of the whole config with placeholders: the same on every machine

    def check_has_metric(self) -> None:
        """Check that a run has validated the metric.

        Raises:
            ValueError: If the log has no value of the metric.
        """
        if not validations(self.job.folder, self.plan.metric):
            raise ValueError(
                f"no '{self.plan.metric}' in the log below {self.job.folder}. Check the name of "
                "the metric, delete that folder and run again."
            )

    def record(self) -> Record:
        """Return the record of a finished run; last and best are NaN without a validation."""
        job, metric = self.job, self.plan.metric
        stamp, points = job.stamp() or {}, validations(job.folder, metric)
        return dict(
            plan=self.plan.title,
            name=self.entry.name,
            setting=self.setting.name,
            options=list(self.options),
            seed=self.seed,
            kind=self.kind,
            metric=metric,
            last=points[-1][1] if points else math.nan,
            best=max((value for _, value in points if math.isfinite(value)), default=math.nan),
            curve=points,
            unit=job.unit,
            parts=count_starts(job.folder),
            config=self.digest,
            versions=stamp.get("versions", {}),
            seconds=stamp.get("seconds"),
            ms_per_step=ms_per_step(job.folder),
        )


class RunLayout:
    """Layout of the runs of a plan, each run once; see :class:`.Comparison` for the arguments."""

    def __init__(
        self,
        plan: Plan,
        out: Path,
        seeds: Sequence[int],
        options: Sequence[str] = (),
        quick: bool = False,
    ) -> None:
        self._plan, self._out, self._options, self._quick = plan, out, tuple(options), quick
        self._seed = seeds[0] if plan.teacher_seed is None else plan.teacher_seed
        self._runs: dict[tuple[Any, ...], RunSpec] = {}
        self._places = {"{out}": str(out), "{data}": str(_from_here(out / "data" / "set"))}
        self.data = self._converter(plan.data) if plan.data is not None else None

    def all(self) -> list[RunSpec]:
        """Return all runs that have been requested so far."""
        return list(self._runs.values())

    def teacher(self, seed: int) -> RunSpec:
        """Return the teacher of the students with this seed.

        Raises:
            ValueError: If the plan trains no teacher.
        """
        if self._plan.teacher is None:
            raise ValueError(
                "the plan trains no teacher, so {teacher} in an option has no checkpoint."
            )
        if not self._plan.teacher_per_seed:
            return self._run("teacher", self._plan.teacher, Setting(), self._seed, "teacher")
        folder = f"teacher_seed{seed}"
        return self._run("teacher", self._plan.teacher, Setting(), seed, folder)

    def trial(self, student: Entry, setting: Setting, seed: int) -> RunSpec:
        """Return a trial: a run for the choice of a student's setting."""
        folder = f"trials/{student.folder(setting)}_seed{seed}"
        return self._run("trial", student, setting, seed, folder)

    def report(self, student: Entry, setting: Setting, seed: int) -> RunSpec:
        """Return a run of the report: its result is in the table."""
        return self._run("report", student, setting, seed, f"{student.folder(setting)}_seed{seed}")

    def validates_on_report_data(self, student: Entry) -> bool:
        """True if trials and report of a student validate on the same data."""
        config, setting = find_config(student.config, "config"), student.settings[0]
        options = (*self._plan.options, *self._options, *student.options, *setting.options)
        report = _read(config, options).get("val_dataloader")
        trial = _read(config, (*options, *self._plan.select_options)).get("val_dataloader")
        return bool(report == trial)

    def _converter(self, entry: Mapping[str, Any]) -> Job:
        """Return the job that writes the data set into ``out/data/set``."""
        script = find_file(entry["converter"], "data.converter")
        arguments = [*entry.get("arguments", []), *(entry.get("quick", []) if self._quick else [])]
        command = [sys.executable, script, "--out", str(self._out / "data" / "set"), *arguments]
        name = f"{self._plan.title} data"
        identity = ("converter", *arguments)
        return Job(name, command, self._out / "data", Path(script).read_text(), identity=identity)

    def _run(self, kind: str, entry: Entry, setting: Setting, seed: int, folder: str) -> RunSpec:
        key = (kind, entry, setting, seed)
        if key not in self._runs:
            self._runs[key] = self._lay_out(kind, entry, setting, seed, self._out / folder)
        return self._runs[key]

    def _lay_out(
        self, kind: str, entry: Entry, setting: Setting, seed: int, folder: Path
    ) -> RunSpec:
        plan = self._plan
        select = plan.select_options if kind == "trial" else ()
        entry_options = (*entry.options, *setting.options, *select)
        options = [*plan.options, *self._options, *entry_options]
        config = find_config(entry.config, "config")
        if kind != "teacher" and plan.teacher is not None:
            options += _teacher_option(_read(config, tuple(options)), options)
        after, teacher = [self.data] if self.data else [], None
        if any(TEACHER in option for option in options):
            teacher = self.teacher(seed).job
            after.append(teacher)
        if self._quick:
            options += _quick_options(config)
        cfg = _read(config, tuple(options))
        unit, content = _unit(cfg), cfg.to_dict()
        command = [sys.executable, "-m", "mmickd.commands.train", config, "--seed", str(seed)]
        command += ["--work-dir", str(folder)]
        if options:
            command.append("--cfg-options")
        for option in options:
            for place, path in self._places.items():
                option = option.replace(place, path)
            command.append(option)
        name = f"{plan.title} {entry.row(setting)}, seed {seed}"
        job = Job(
            f"{name}, trial" if kind == "trial" else name,
            command,
            folder,
            inputs=json.dumps(content, default=repr),  # the order of keys may matter
            after=tuple(after),
            cost=10.0 if self._quick else 60 * entry.minutes,
            steps=int(cfg.train_cfg[f"max_{unit}s"]),
            unit=unit,
            resume=("--resume",),
            identity=("train", __version__, f"seed {seed}"),
            teacher=teacher,
        )
        plain = (*plan.options, *entry_options)
        return RunSpec(job, plan, kind, entry, setting, seed, plain, digest(content))


def _from_here(path: Path) -> Path:
    """Return a path relative to the working directory if it lies below it.

    The choice of pixels depends on the paths of the images; with relative paths it is the same in
    every checkout.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@cache
def _read(config: str, options: tuple[str, ...]) -> Config:
    """Read a config with its options; placeholders such as ``{out}`` stay."""
    cfg = Config.fromfile(config)
    try:
        cfg.merge_from_dict(parse_options(options))
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"an option does not fit {config}: {error}") from error
    return cfg


def _unit(cfg: Config) -> str:
    return "epoch" if "max_epochs" in cfg.train_cfg else "iter"


def _teacher_option(cfg: Config, options: Sequence[str]) -> list[str]:
    """Return the option that sets a student's teacher to the plan's; none if it has a teacher.

    A teacher without the key ``checkpoint`` learns in the student's run.
    """
    for place, hook in enumerate(cfg.get("custom_hooks") or ()):
        if is_ickd_hook(hook) and "checkpoint" in (hook.get("teacher") or {}):
            key = f"custom_hooks.{place}.teacher"
            if any(o.startswith((f"{key}=", f"{key}.checkpoint=")) for o in options):
                return []
            return [f"{key}.checkpoint={TEACHER}"]
    return []


def _quick_options(config: str) -> list[str]:
    unit = _unit(_read(config, ()))
    steps = 2 if unit == "epoch" else 10
    return [
        f"train_cfg.max_{unit}s={steps}", f"train_cfg.val_interval={steps}",
        f"default_hooks.checkpoint.interval={steps}", "default_hooks.logger.interval=1",
    ]  # fmt: skip
