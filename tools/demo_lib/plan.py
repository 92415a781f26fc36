"""What the demo runs: data, a teacher and its students for each task, pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comparing.environment import TOOLS
from comparing.jobs import Job

CONFIGS = TOOLS.parent / "configs" / "demo"
STUDENTS = {
    "student": "student, task loss",
    "kd": "KD",
    "ickd": "IC-KD",
    "self": "IC-KD, self",
    "online": "IC-KD, online",
}
WITHOUT_TEACHER = ("student", "self", "online")


@dataclass(frozen=True)
class Task:
    """One of the demo's two tasks.

    Args:
        name: prefix of its configs.
        converter: script that makes its data.
        metric: key of the metric in the log.
        shown: the metric's name in the table.
        costs: rough seconds of the teacher and of each student on one quiet core.
        quick_data: arguments of the converter for ``--quick``.
    """

    name: str
    converter: str
    metric: str
    shown: str
    costs: dict[str, float]
    quick_data: tuple[str, ...] = ()

    @property
    def students(self) -> tuple[str, ...]:
        """Its methods, in the order of the table."""
        return tuple(method for method in STUDENTS if method in self.costs)


TASKS = {
    "digits": Task(
        "digits",
        "digits.py",
        "accuracy/top1",
        "accuracy (%)",
        dict(teacher=44, student=12, kd=22, ickd=24, self=17, online=25),
    ),
    "scenes": Task(
        "scenes",
        "digit_scenes.py",
        "mIoU",
        "mIoU (%)",
        dict(teacher=55, student=33, kd=48, ickd=65),
        quick_data=("--num-train", "40", "--num-val", "20"),
    ),
}


@dataclass(frozen=True)
class TaskPlan:
    """The jobs of one task.

    Args:
        task: the task.
        data: makes the data set.
        teacher: trains the teacher.
        students: by method, a job per seed.
        pictures: draws what was retrieved and predicted.
    """

    task: Task
    data: Job
    teacher: Job
    students: dict[str, list[Job]]
    pictures: Job

    def jobs(self) -> list[Job]:
        """All jobs, each after those that it needs; seeds before methods, to fail early."""
        students = [job for seed in zip(*self.students.values(), strict=True) for job in seed]
        return [self.data, self.teacher, *students, self.pictures]


def make_plan(task: Task, out: Path, seeds: Sequence[int], quick: bool = False) -> TaskPlan:
    """Lay out the jobs of one task below ``out``.

    Args:
        task: the task.
        out: folder of the demo.
        seeds: seeds of the students; the teacher takes the first.
        quick: train a step or two only, to see everything work.
    """
    out = out.resolve()
    folder = out / task.name
    extra = task.quick_data if quick else ()
    data_root = folder / "data" / "set"
    converter = TOOLS / "dataset_converters" / task.converter
    data = Job(
        f"{task.name} data",
        [sys.executable, str(converter), "--out", str(data_root), *extra],
        folder / "data",
        inputs=converter.read_text(),
        cost=4,
    )

    def training(method: str, seed: int, after: tuple[Job, ...], options: list[str]) -> Job:
        config = CONFIGS / f"{task.name}_{method}.py"
        text, unit, steps, short = _describe(config)
        work_dir = folder / (method if method == "teacher" else f"{method}_seed{seed}")
        roots = [f"{x}_dataloader.dataset.data_root={data_root}" for x in ("train", "val", "test")]
        command = [sys.executable, str(TOOLS / "train.py"), str(config), "--seed", str(seed)]
        command += ["--work-dir", str(work_dir), "--cfg-options", *roots, *options]
        name = f"{task.name} {method}" + ("" if method == "teacher" else f" seed {seed}")
        if quick:
            command, steps = [*command, *short], steps and int(short[0].split("=")[1])
        cost = 10.0 if quick else task.costs[method]
        return Job(name, command, work_dir, text, after, cost, steps, unit)

    teacher = training("teacher", seeds[0], (data,), [])
    distilled = [
        f"custom_hooks.0.teacher.cfg={CONFIGS / f'{task.name}_teacher.py'}",
        f"custom_hooks.0.teacher.checkpoint={teacher.folder / _last_checkpoint(teacher)}",
        f"custom_hooks.0.bank.cache_dir={out / 'banks'}",
    ]
    students = {}
    for method in task.students:
        alone = method in WITHOUT_TEACHER
        after, options = ((data,), []) if alone else ((data, teacher), distilled)
        students[method] = [training(method, seed, after, options) for seed in seeds]
    first = {"teacher": teacher, **{method: jobs[0] for method, jobs in students.items()}}
    pictures = _pictures(task, folder / "pictures", first, students["ickd"][0])
    return TaskPlan(task, data, teacher, students, pictures)


def _pictures(task: Task, folder: Path, first: dict[str, Job], ickd: Job) -> Job:
    options = ickd.command[ickd.command.index("--cfg-options") :]
    command = [sys.executable, "-m", "demo_lib.pictures", str(CONFIGS / f"{task.name}_ickd.py")]
    command += [str(folder), "--students"]
    command += [f"{STUDENTS[m]}={job.folder}" for m, job in first.items() if m != "teacher"]
    return Job(f"{task.name} pictures", [*command, *options], folder, "", tuple(first.values()), 10)


def _describe(config: Path) -> tuple[str, str, int, list[str]]:
    """Text of a config, 'epoch' or 'iter', how many of them, and options that make it short."""
    from mmengine.config import Config

    cfg = Config.fromfile(config)
    unit = "epoch" if "max_epochs" in cfg.train_cfg else "iter"
    key, few = ("max_epochs", 2) if unit == "epoch" else ("max_iters", 10)
    short = [
        f"train_cfg.{key}={few}",
        f"train_cfg.val_interval={few}",
        f"default_hooks.checkpoint.interval={few}",
        "default_hooks.logger.interval=1",
    ]
    return cfg.dump(), unit, int(cfg.train_cfg[key]), short


def _last_checkpoint(job: Job) -> str:
    steps = next((x.split("=")[1] for x in job.command if x.startswith("train_cfg.max_")), None)
    return f"{job.unit}_{steps or job.steps}.pth"
