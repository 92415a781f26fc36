"""The runs of a comparison: the command, folder and inputs of each."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmickd.experiments.jobs import TEACHER, Job
from mmickd.experiments.plan import Entry, Plan, Setting
from mmickd.hooks.entries import is_own
from mmickd.utils.config import find_config, find_file, parse_options
from mmickd.utils.digest import digest
from mmickd.version import __version__


@dataclass(frozen=True, eq=False)
class RunSpec:
    """A run, and what the results say of it.

    Args:
        job: its command.
        kind: 'teacher', 'trial' of a selection, or 'report'.
        trainee: who is trained.
        setting: with what.
        seed: of the run.
        options: of the plan, the trainee and the setting, with places such as ``{out}`` open.
        digest: of the whole config, with the places open: the same on every machine.
    """

    job: Job
    kind: str
    trainee: Entry
    setting: Setting
    seed: int
    options: tuple[str, ...]
    digest: str


class RunLayout:
    """Lays out the runs of a plan; each is one object, however often it is asked for.

    Args:
        plan: what to compare.
        out: folder of all runs.
        seeds: of the report.
        options: ``--cfg-options`` of every run, after those of the plan.
        quick: train a step or two only, to see everything work.
    """

    def __init__(
        self, plan: Plan, out: Path, seeds: Sequence[int], options: Sequence[str], quick: bool
    ) -> None:
        self._plan, self._out, self._options, self._quick = plan, out, tuple(options), quick
        self._seed = seeds[0] if plan.teacher_seed is None else plan.teacher_seed
        self._made: dict[tuple[Any, ...], RunSpec] = {}
        self._places = {"{out}": str(out), "{data}": str(_from_here(out / "data" / "set"))}
        self.data = self._converter(plan.data) if plan.data is not None else None

    def all(self) -> list[RunSpec]:
        """Those that were asked for so far."""
        return list(self._made.values())

    def teacher(self, seed: int) -> RunSpec:
        """The teacher of the students with this seed.

        Raises:
            ValueError: if the plan trains none.
        """
        if self._plan.teacher is None:
            raise ValueError("no teacher is trained first, so nothing can stand for {teacher}.")
        if not self._plan.paired:
            return self._training("teacher", self._plan.teacher, Setting(), self._seed, "teacher")
        folder = f"teacher_seed{seed}"
        return self._training("teacher", self._plan.teacher, Setting(), seed, folder)

    def trial(self, student: Entry, setting: Setting, seed: int) -> RunSpec:
        """A run that helps to choose a student's setting."""
        folder = f"trials/{student.folder(setting)}_seed{seed}"
        return self._training("trial", student, setting, seed, folder)

    def report(self, student: Entry, setting: Setting, seed: int) -> RunSpec:
        """A run that counts."""
        folder = f"{student.folder(setting)}_seed{seed}"
        return self._training("report", student, setting, seed, folder)

    def validates_on_report_data(self, student: Entry) -> bool:
        """True if a student's trials validate on the data that its report validates on."""
        config, setting = find_config(student.config, "config"), student.settings[0]
        options = (*self._plan.options, *self._options, *student.options, *setting.options)
        report, trial = (
            json.loads(_merged(config, (*options, *chosen)).content).get("val_dataloader")
            for chosen in ((), self._plan.select_options)
        )
        return bool(report == trial)

    def _converter(self, entry: Mapping[str, Any]) -> Job:
        """The job that makes the data set in ``out/data/set``."""
        script = find_file(entry["converter"], "data.converter")
        arguments = [*entry.get("arguments", []), *(entry.get("quick", []) if self._quick else [])]
        command = [sys.executable, script, "--out", str(self._out / "data" / "set"), *arguments]
        name = f"{self._plan.title} data"
        identity = ("converter", *arguments)
        return Job(name, command, self._out / "data", Path(script).read_text(), identity=identity)

    def _training(
        self, kind: str, trainee: Entry, setting: Setting, seed: int, folder: str
    ) -> RunSpec:
        key = (kind, trainee, setting, seed)
        if key not in self._made:
            self._made[key] = self._lay_out(kind, trainee, setting, seed, self._out / folder)
        return self._made[key]

    def _lay_out(
        self, kind: str, trainee: Entry, setting: Setting, seed: int, folder: Path
    ) -> RunSpec:
        chosen = self._plan.select_options if kind == "trial" else ()
        of_plan = (*self._plan.options, *trainee.options, *setting.options, *chosen)
        options = [*self._plan.options, *self._options, *trainee.options, *setting.options, *chosen]
        config = find_config(trainee.config, "config")
        if kind != "teacher" and self._plan.teacher is not None:
            options += _teacher_option(config, options)
        after, teacher = [self.data] if self.data else [], None
        if any(TEACHER in option for option in options):
            teacher = self.teacher(seed).job
            after.append(teacher)
        if self._quick:
            options += _quick_options(config)
        merged = _merged(config, tuple(options))
        filled = [_filled(option, self._places) for option in options]
        command = [sys.executable, "-m", "mmickd.commands.train", config, "--seed", str(seed)]
        command += ["--work-dir", str(folder)]
        command += ["--cfg-options", *filled] if filled else []
        cost = 10.0 if self._quick else 60 * trainee.minutes
        name = f"{self._plan.title} {trainee.row(setting)}, seed {seed}"
        name = f"{name}, trial" if kind == "trial" else name
        job = Job(
            name, command, folder, merged.content, tuple(after),
            cost, merged.length, merged.unit, ("--resume",),
            identity=("train", __version__, f"seed {seed}"), teacher=teacher,
        )  # fmt: skip
        return RunSpec(job, kind, trainee, setting, seed, of_plan, merged.digest)


def _filled(text: str, places: dict[str, str]) -> str:
    for place, path in places.items():
        text = text.replace(place, path)
    return text


def _from_here(path: Path) -> Path:
    """Relative, if it lies below the working directory.

    Which pixels are drawn depends on the paths of the images: so it is the same in every checkout.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@dataclass(frozen=True)
class _Merged:
    """A config with its options.

    Args:
        length: length of the training, in units of ``unit``.
        unit: 'epoch' or 'iter'.
        content: the whole config as JSON, with places such as ``{out}`` open.
        digest: digest of the config.
        teacher: key of the hook's ``teacher`` if it names a checkpoint, else None; other teachers
            are trained with the student.
    """

    length: int
    unit: str
    content: str
    digest: str
    teacher: str | None


@cache
def _merged(config: str, options: tuple[str, ...]) -> _Merged:
    cfg = Config.fromfile(config)
    try:
        cfg.merge_from_dict(parse_options(options))
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"an option does not fit {config}: {error}") from error
    unit = "epoch" if "max_epochs" in cfg.train_cfg else "iter"
    content = cfg.to_dict()
    text = json.dumps(content, default=repr)  # in the order of the config, which may matter
    length = int(cfg.train_cfg[f"max_{unit}s"])
    return _Merged(length, unit, text, digest(content), _teacher_key(cfg.get("custom_hooks")))


def _teacher_key(hooks: Any) -> str | None:
    for place, hook in enumerate(hooks or ()):
        if is_own(hook) and "checkpoint" in (hook.get("teacher") or {}):
            return f"custom_hooks.{place}.teacher"
    return None


def _teacher_option(config: str, options: Sequence[str]) -> list[str]:
    """The option that gives a student the plan's teacher; none if it has, or names, another."""
    key = _merged(config, tuple(options)).teacher
    if key is None or any(o.startswith((f"{key}=", f"{key}.checkpoint=")) for o in options):
        return []
    return [f"{key}.checkpoint={TEACHER}"]


def _quick_options(config: str) -> list[str]:
    unit = _merged(config, ()).unit
    few = 2 if unit == "epoch" else 10
    return [
        f"train_cfg.max_{unit}s={few}", f"train_cfg.val_interval={few}",
        f"default_hooks.checkpoint.interval={few}", "default_hooks.logger.interval=1",
    ]  # fmt: skip
