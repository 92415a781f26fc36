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

from mmickd.commands.arguments import parse_options
from mmickd.commands.comparing.jobs import Job
from mmickd.commands.comparing.plan import Plan, Setting, Trainee
from mmickd.utils.config import find_config, find_file
from mmickd.utils.digest import digest

CHECKPOINT = "custom_hooks.0.teacher.checkpoint"


@dataclass(frozen=True, eq=False)
class Training:
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
    trainee: Trainee
    setting: Setting
    seed: int
    options: tuple[str, ...]
    digest: str


class Trainings:
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
        self._folders: dict[Path, tuple[str, str]] = {}
        self._made: dict[tuple[Any, ...], Training] = {}
        self._places = {"{out}": str(out), "{data}": str(_from_here(out / "data" / "set"))}
        self.data = self._converter(plan.data) if plan.data is not None else None

    def all(self) -> list[Training]:
        """Those that were asked for so far."""
        return list(self._made.values())

    def teacher(self, seed: int) -> Training:
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

    def trial(self, student: Trainee, setting: Setting, seed: int) -> Training:
        """A run that helps to choose a student's setting."""
        folder = f"trials/{_slug(student.row(setting))}_seed{seed}"
        return self._training("trial", student, setting, seed, folder)

    def report(self, student: Trainee, setting: Setting, seed: int) -> Training:
        """A run that counts."""
        folder = f"{_slug(student.row(setting))}_seed{seed}"
        return self._training("report", student, setting, seed, folder)

    def _converter(self, entry: Mapping[str, Any]) -> Job:
        """The job that makes the data set in ``out/data/set``."""
        script = find_file(entry["converter"], "data.converter")
        arguments = [*entry.get("arguments", []), *(entry.get("quick", []) if self._quick else [])]
        command = [sys.executable, script, "--out", str(self._out / "data" / "set"), *arguments]
        name = f"{self._plan.title} data"
        return Job(name, command, self._out / "data", Path(script).read_text())

    def _training(
        self, kind: str, trainee: Trainee, setting: Setting, seed: int, folder: str
    ) -> Training:
        key = (kind, trainee, setting, seed)
        if key not in self._made:
            self._take(self._out / folder, kind, trainee.row(setting))
            self._made[key] = self._lay_out(kind, trainee, setting, seed, self._out / folder)
        return self._made[key]

    def _take(self, folder: Path, kind: str, row: str) -> None:
        other = self._folders.setdefault(folder, (kind, row))
        if other != (kind, row):
            raise ValueError(
                f"'{other[1]}' and '{row}' would share the folder {folder}: rename one of them."
            )

    def _lay_out(
        self, kind: str, trainee: Trainee, setting: Setting, seed: int, folder: Path
    ) -> Training:
        chosen = self._plan.select_options if kind == "trial" else ()
        of_plan = (*self._plan.options, *trainee.options, *setting.options, *chosen)
        options = [*self._plan.options, *self._options, *trainee.options, *setting.options, *chosen]
        config = find_config(trainee.config, "config")
        if kind != "teacher" and self._plan.teacher is not None and _reads_checkpoint(config):
            options.append(f"{CHECKPOINT}={{teacher}}")
        after, places = [self.data] if self.data else [], dict(self._places)
        if any("{teacher}" in option for option in options):
            job = self.teacher(seed).job
            after.append(job)
            places["{teacher}"] = str(job.folder / f"{job.unit}_{job.steps}.pth")
        if self._quick:
            options += _quick_options(config)
        length, unit, content, mark = _merged(config, tuple(options))
        given = [_filled(option, places) for option in options]
        command = [sys.executable, "-m", "mmickd.commands.train", config, "--seed", str(seed)]
        command += ["--work-dir", str(folder)]
        command += ["--cfg-options", *given] if given else []
        cost = 10.0 if self._quick else 60 * trainee.minutes
        name = f"{self._plan.title} {trainee.row(setting)}, seed {seed}"
        name = f"{name}, trial" if kind == "trial" else name
        job = Job(
            name, command, folder, _filled(content, places), tuple(after),
            cost, length, unit, ("--resume",),
        )  # fmt: skip
        return Training(job, kind, trainee, setting, seed, of_plan, mark)


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


@cache
def _merged(config: str, options: tuple[str, ...]) -> tuple[int, str, str, str]:
    """Length and unit of the training that a config with options is, its content and digest."""
    cfg = Config.fromfile(config)
    try:
        cfg.merge_from_dict(parse_options(options))
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"an option does not fit {config}: {error}") from error
    unit = "epoch" if "max_epochs" in cfg.train_cfg else "iter"
    content = cfg.to_dict()
    text = json.dumps(content, default=repr)  # in the order of the config, which may matter
    return int(cfg.train_cfg[f"max_{unit}s"]), unit, text, digest(content)


@cache
def _reads_checkpoint(config: str) -> bool:
    """Whether the teacher of the first hook is a trained one; others learn with the student."""
    hooks = Config.fromfile(config).get("custom_hooks") or [{}]
    return "checkpoint" in hooks[0].get("teacher", {})


def _quick_options(config: str) -> list[str]:
    unit = _merged(config, ())[1]
    few = 2 if unit == "epoch" else 10
    return [
        f"train_cfg.max_{unit}s={few}", f"train_cfg.val_interval={few}",
        f"default_hooks.checkpoint.interval={few}", "default_hooks.logger.interval=1",
    ]  # fmt: skip


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()
