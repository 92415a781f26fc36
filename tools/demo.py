"""Take a first look: distil a classifier and a segmenter, with one seed, in a few minutes."""

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
    add_worker_arguments,
    exit_code_of,
    write_results,
)
from mmickd.experiments.comparison import Comparison
from mmickd.experiments.jobs import Job
from mmickd.experiments.plan import select_students
from mmickd.experiments.scheduler import format_duration
from mmickd.experiments.table import markdown_table, number

TASKS = ("scenes", "digits")
"""Tasks of the demo; the task with the longer runs is first."""
STUDENTS = ("student, task loss", "KD", "IC-KD")
NOTE = (
    "This is a first look and no evidence: one seed has no standard error, so the tables cannot "
    "show which method is better. `make study` trains 3 seeds, with further methods and controls; "
    "it reuses these runs."
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder_arguments(parser)
    add_worker_arguments(parser)
    args = parser.parse_args(argv)
    args.out = output_folder(args)
    return args


def gallery_job(comparison: Comparison, folder: Path) -> Job:
    """Return the job that writes the gallery page of the IC-KD run."""
    distilled = comparison.reports()["IC-KD"][0].job
    command = [sys.executable, "-m", "mmickd.commands.gallery", config_of(distilled)]
    command += ["--checkpoint", str(distilled.final_checkpoint), "--split", "val"]
    command += ["--out", str(folder), *options_of(distilled)]
    name = f"{comparison.plan.title} gallery"
    return Job(name, command, folder, after=(distilled,), cost=15, teacher=distilled.teacher)


def as_table(comparison: Comparison) -> str:
    """Return the metric of each row and its difference to KD, in Markdown."""
    plan = comparison.plan
    rows = [
        [
            row.name,
            number(row.values[0]),
            number(row.to[plan.reference].mean, signed=True) if row.to else "",
        ]
        for row in comparison.rows()
    ]
    return markdown_table([plan.title, plan.metric_label, f"difference to {plan.reference}"], rows)


def run(args: argparse.Namespace) -> None:
    """Run the jobs that are not done yet, then print and write the results."""
    begin, look = time.monotonic(), args.out / "first_look"
    plans = {task: select_students(read_task(task), STUDENTS) for task in TASKS}
    comparisons = compare_plans(plans, [0], args)
    galleries = [gallery_job(comparison, look / task) for task, comparison in comparisons.items()]
    run_jobs("demo", training_jobs(comparisons.values()) + galleries, args)
    texts = [as_table(comparison) for comparison in comparisons.values()]
    texts += [NOTE, *([QUICK_NOTE] if args.quick else [])]
    data = {task: comparison.to_json() for task, comparison in comparisons.items()}
    write_results(look, "\n\n".join(texts), data)
    print(f"runs       {args.out} (log.txt, checkpoint and config of each)")
    print(f"\nThe demo took {format_duration(time.monotonic() - begin)}.")
    print("Open these pages: what images retrieve, and what teacher and student predict.")
    for job in galleries:
        print(f"page       {job.folder / 'index.html'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    args = parse_args(argv)
    return exit_code_of(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
