"""Distil a classifier and a segmenter on data that needs no download, and show what came out."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparing.environment import environment
from comparing.jobs import Job
from comparing.launching import WarmStart, can_fork, spawn
from comparing.scheduler import JobFailed, Scheduler, available_cores, clock
from demo_lib.plan import TASKS, TaskPlan, make_plan
from demo_lib.report import write_report


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="where everything goes (work_dirs/demo, or demo_quick)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each student")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what to do")
    parser.add_argument(
        "--quick", action="store_true", help="a few steps of each run, to see everything work"
    )
    parser.add_argument("--workers", type=int, help="runs side by side (one per core, at most 4)")
    args = parser.parse_args(argv)
    if args.seeds < 1 or (args.workers is not None and args.workers < 1):
        parser.error("--seeds and --workers must be at least 1")
    args.out = args.out or Path("work_dirs") / ("demo_quick" if args.quick else "demo")
    args.workers = args.workers or min(available_cores(), 4)
    return args


def in_turns(plans: Sequence[TaskPlan]) -> list[Job]:
    """All jobs; teachers first, since most others wait for them."""
    early = [job for plan in plans for job in (plan.data, plan.teacher)]
    return early + [job for plan in plans for job in plan.jobs() if job not in early]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done yet, then report."""
    args = parse_args(argv)
    begin = time.monotonic()
    plans = [make_plan(TASKS[t], args.out, range(args.seeds), args.quick) for t in args.tasks]
    jobs = in_turns(plans)
    print(f"demo: {len(jobs)} jobs, {args.workers} at a time, below {args.out}", flush=True)
    try:
        launch = spawn
        if can_fork():
            launch = WarmStart("demo_lib.imports", environment(), args.out / "imports.txt")
        Scheduler(jobs, args.workers, environment(), launch=launch).run()
        write_report(plans, args.out, args.quick)
    except (JobFailed, ValueError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"\nThe demo took {clock(time.monotonic() - begin)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
