"""Distil a classifier and a segmenter on data that needs no download, and show the results."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import _checkout  # noqa: F401

from mmickd.commands.experiment import (
    add_run_arguments,
    exit_code_of,
    number_of_workers,
    write_results,
)
from mmickd.experiments.comparison import Comparison
from mmickd.experiments.jobs import Job
from mmickd.experiments.launch import quickest_launch
from mmickd.experiments.plan import read_plan
from mmickd.experiments.scheduler import Scheduler, format_duration
from mmickd.utils.config import find_file

TASKS = ("digits", "wrong_labels", "scenes")
PICTURES = Path(__file__).resolve().parent / "demo_pictures.py"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="folder for all output (work_dirs/demo, or demo_quick)"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="tasks")
    parser.add_argument(
        "--quick", action="store_true", help="train a few steps only, as a smoke test"
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("work_dirs") / ("demo_quick" if args.quick else "demo")
    args.out = args.out.resolve()
    return args


def pictures_job(comparison: Comparison, folder: Path) -> Job:
    """Return the job that draws rows retrieved by the first IC-KD run, and all predictions."""
    first = {name: runs[0].job for name, runs in comparison.reports().items()}
    distilled = first["IC-KD"].command
    config = distilled[distilled.index("mmickd.commands.train") + 1]
    command = [sys.executable, str(PICTURES), config, str(folder), "--students"]
    command += [f"{name}={job.folder}" for name, job in first.items()]
    command += distilled[distilled.index("--cfg-options") :]
    name = f"{comparison.plan.title} pictures"
    teacher = first["IC-KD"].teacher
    return Job(name, command, folder, after=tuple(first.values()), cost=10, teacher=teacher)


def run(args: argparse.Namespace) -> None:
    """Run the jobs that are not done yet, then print and write the results."""
    files = {task: find_file(f"configs/demo/{task}.json", "--tasks") for task in args.tasks}
    plans = {task: read_plan(Path(file)) for task, file in files.items()}
    comparisons = {
        task: Comparison(plan, args.out / task, range(args.seeds), quick=args.quick)
        for task, plan in plans.items()
    }
    pictures = [
        pictures_job(comparison, args.out / task / "pictures")
        for task, comparison in comparisons.items()
    ]
    # Each comparison has one round, as no setting is chosen. Teachers are first, as most jobs
    # depend on them.
    rounds = [jobs for comparison in comparisons.values() for jobs in comparison.rounds()]
    jobs = [job for jobs in rounds for job in jobs[:2]]
    jobs += [job for jobs in rounds for job in jobs[2:]] + pictures
    workers = number_of_workers(args)
    scheduler = Scheduler(workers, quickest_launch(args.out), args.minutes)
    scheduler.report_line(f"demo: {len(jobs)} jobs, {workers} at a time, below {args.out}")
    scheduler.run(jobs)
    texts = [text for c in comparisons.values() for text in (c.as_markdown(), c.missing())]
    if args.quick:
        texts.append("--quick: a few steps only; these numbers are meaningless.")
    texts.append(
        f"{comparisons[args.tasks[0]].note()} Processors round differently, so the figures may "
        "differ from configs/demo/README.md, which also explains the choice of KD's weight."
    )
    data = {task: comparison.to_json() for task, comparison in comparisons.items()}
    write_results(args.out, "\n\n".join(filter(None, texts)), data)
    for job in pictures:
        for picture in sorted(job.folder.glob("*.png")):
            print(f"picture    {picture}")
        print(f"runs       {job.folder.parent} (log.txt, checkpoint and config of each)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    args = parse_args(argv)
    begin = time.monotonic()
    code = exit_code_of(lambda: run(args))
    if code == 0:
        print(f"\nThe demo took {format_duration(time.monotonic() - begin)}.")
    return code


if __name__ == "__main__":
    sys.exit(main())
