"""Distil a classifier and a segmenter on data that needs no download, and show what came out."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import _checkout  # noqa: F401

from mmickd.commands.compare import add_run_arguments, rows_of, stoppable, write_results
from mmickd.experiments.comparison import Comparison, read_comparison
from mmickd.experiments.jobs import Job, environment
from mmickd.experiments.processes import quickest
from mmickd.experiments.scheduler import Scheduler, clock
from mmickd.utils.config import find_file

TASKS = ("digits", "wrong_labels", "scenes")
PICTURES = Path(__file__).resolve().parent / "demo_pictures.py"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="where everything goes (work_dirs/demo, or demo_quick)"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what to do")
    parser.add_argument(
        "--quick", action="store_true", help="a few steps of each run, to see everything work"
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("work_dirs") / ("demo_quick" if args.quick else "demo")
    args.out = args.out.resolve()
    return args


def pictures_of(comparison: Comparison, folder: Path) -> Job:
    """Draws what the first IC-KD run retrieved, and what all first students predict."""
    first = {name: trainings[0].job for name, trainings in comparison.reports().items()}
    distilled = first["IC-KD"].command
    config = distilled[distilled.index("mmickd.commands.train") + 1]
    command = [sys.executable, str(PICTURES), config, str(folder), "--students"]
    command += [f"{name}={job.folder}" for name, job in first.items()]
    command += distilled[distilled.index("--cfg-options") :]
    name = f"{comparison.plan.title} pictures"
    teacher = first["IC-KD"].teacher
    return Job(name, command, folder, after=tuple(first.values()), cost=10, teacher=teacher)


def run(args: argparse.Namespace) -> None:
    """Run what is not done yet, then report."""
    plans = {
        task: read_comparison(
            Path(find_file(f"configs/demo/{task}.json", "--tasks")),
            args.out / task,
            range(args.seeds),
            quick=args.quick,
        )
        for task in args.tasks
    }
    pictures = [pictures_of(plan, args.out / task / "pictures") for task, plan in plans.items()]
    # one round each, since nothing is chosen; teachers first, since most others wait for them
    rounds = [jobs for plan in plans.values() for jobs in plan.rounds()]
    jobs = [job for jobs in rounds for job in jobs[:2]]
    jobs += [job for jobs in rounds for job in jobs[2:]] + pictures
    print(f"demo: {len(jobs)} jobs, {args.workers} at a time, below {args.out}", flush=True)
    launch = quickest(environment(), args.out)
    Scheduler(args.workers, environment(), launch=launch, minutes=args.minutes).run(jobs)
    tables = [text for plan in plans.values() for text in (plan.as_markdown(), plan.missing())]
    remark = (
        f"{plans[args.tasks[0]].note()} Processors round differently: on another one the figures "
        "differ, as they may from those of configs/demo/README.md, which says how KD's weight was "
        "chosen."
    )
    if args.quick:
        remark = f"--quick: a few steps only, these numbers mean nothing.\n\n{remark}"
    data = {task: rows_of(plan) for task, plan in plans.items()}
    write_results(args.out, "\n\n".join(filter(None, [*tables, remark])), data)
    for job in pictures:
        for picture in sorted(job.folder.glob("*.png")):
            print(f"picture    {picture}")
        print(f"runs       {job.folder.parent} (log.txt, checkpoint and config of each)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    args = parse_args(argv)
    begin = time.monotonic()
    code = stoppable(lambda: run(args))
    if code == 0:
        print(f"\nThe demo took {clock(time.monotonic() - begin)}.")
    return code


if __name__ == "__main__":
    sys.exit(main())
