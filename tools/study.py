"""Compare methods on data that needs no download: seeds, baselines and controls."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import _checkout  # noqa: F401
from _demo_runs import (
    QUICK_NOTE,
    add_folder_arguments,
    compare_plans,
    config_of,
    options_of,
    output_folder,
    read_task,
    run_jobs,
    training_jobs,
)

from mmickd.commands.experiment import (
    EXIT_CODES,
    add_run_arguments,
    exit_code_of,
    write_results,
)
from mmickd.experiments.comparison import Comparison
from mmickd.experiments.jobs import Job
from mmickd.experiments.scheduler import format_duration

TASKS = ("digits", "wrong_labels", "scenes")
PICTURES = Path(__file__).resolve().parent / "study_pictures.py"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="tasks")
    add_folder_arguments(parser)
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    args.out = output_folder(args)
    return args


def pictures_job(comparison: Comparison, folder: Path) -> Job:
    """Return the job that draws rows retrieved by the first IC-KD run, and all predictions."""
    first = {name: runs[0].job for name, runs in comparison.reports().items()}
    distilled = first["IC-KD"]
    command = [sys.executable, str(PICTURES), config_of(distilled), str(folder), "--students"]
    command += [f"{name}={job.folder}" for name, job in first.items()]
    command += options_of(distilled)
    name = f"{comparison.plan.title} pictures"
    after = tuple(first.values())
    return Job(name, command, folder, after=after, cost=10, teacher=distilled.teacher)


def run(args: argparse.Namespace) -> None:
    """Run the jobs that are not done yet, then print and write the results."""
    begin = time.monotonic()
    plans = {task: read_task(task) for task in args.tasks}
    comparisons = compare_plans(plans, range(args.seeds), args)
    pictures = [
        pictures_job(comparison, args.out / task / "pictures")
        for task, comparison in comparisons.items()
    ]
    run_jobs("study", training_jobs(comparisons.values()) + pictures, args)
    texts = [text for c in comparisons.values() for text in (c.as_markdown(), c.missing())]
    if args.quick:
        texts.append(QUICK_NOTE)
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
    print(f"\nThe study took {format_duration(time.monotonic() - begin)}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study."""
    args = parse_args(argv)
    return exit_code_of(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
