"""Runs of the plans in ``configs/demo``, which the demo and the study share."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmickd.experiments.comparison import Comparison
from mmickd.experiments.jobs import Job
from mmickd.experiments.launch import quickest_launch
from mmickd.experiments.plan import Plan, read_plan
from mmickd.experiments.scheduler import Scheduler
from mmickd.utils.config import find_file

# Anchors and random rows depend on the paths of the images, so both commands need the same folder
# for the same figures. The study also reuses the runs of the demo.
OUT, QUICK_OUT = Path("work_dirs/demo"), Path("work_dirs/demo_quick")
QUICK_NOTE = "--quick: a few steps only; these numbers are meaningless."


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--out`` and ``--quick``."""
    parser.add_argument("--out", type=Path, help=f"folder for all output ({OUT}, or {QUICK_OUT})")
    parser.add_argument(
        "--quick", action="store_true", help="train a few steps only, as a smoke test"
    )


def output_folder(args: argparse.Namespace) -> Path:
    """Return the absolute path of the folder for all output."""
    return (args.out or (QUICK_OUT if args.quick else OUT)).resolve()


def read_task(task: str) -> Plan:
    """Return the plan of a task: digits, wrong_labels or scenes."""
    return read_plan(Path(find_file(f"configs/demo/{task}.json", "task")))


def compare_plans(
    plans: Mapping[str, Plan], seeds: Sequence[int], args: argparse.Namespace
) -> dict[str, Comparison]:
    """Return the comparison of each task's plan; its runs are in a folder of that name."""
    return {
        task: Comparison(plan, args.out / task, seeds, quick=args.quick)
        for task, plan in plans.items()
    }


def training_jobs(comparisons: Iterable[Comparison]) -> list[Job]:
    """Return the jobs of comparisons: data and teachers, then the students, longest runs first.

    No setting is chosen in these plans, so each comparison has one round.
    """
    rounds = [jobs for comparison in comparisons for jobs in comparison.rounds()]
    students = [job for jobs in rounds for job in jobs[2:]]
    students.sort(key=lambda job: -job.cost)
    return [job for jobs in rounds for job in jobs[:2]] + students


def config_of(job: Job) -> str:
    """Return the config of a training."""
    return job.command[job.command.index("mmickd.commands.train") + 1]


def options_of(job: Job) -> list[str]:
    """Return the argument ``--cfg-options`` of a training, with its options."""
    return list(job.command[job.command.index("--cfg-options") :])


def run_jobs(title: str, jobs: Sequence[Job], args: argparse.Namespace) -> None:
    """Run the jobs that are not done yet, with lines on their progress."""
    scheduler = Scheduler(args.workers, quickest_launch(args.out), args.minutes)
    scheduler.report_line(f"{title}: {len(jobs)} jobs, {args.workers} at a time, below {args.out}")
    scheduler.run(jobs)
