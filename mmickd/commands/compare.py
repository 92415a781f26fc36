"""Train a teacher and several students over paired seeds, and print one table."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmickd.commands.arguments import positive_float, positive_int, run_command
from mmickd.commands.terminal import add_json_argument, progress, show_markdown
from mmickd.experiments.comparison import Comparison, read_comparison
from mmickd.experiments.jobs import environment
from mmickd.experiments.plots import draw_curves, draw_rows
from mmickd.experiments.processes import quickest
from mmickd.experiments.records import write_lines
from mmickd.experiments.scheduler import JobFailed, Scheduler, TimeIsUp, available_cores
from mmickd.utils.json_files import write_json

EPILOG = """
The plan is a JSON file, see docs/comparing.md:
  {"metric": "accuracy/top1",              key in the log; more is better
   "teacher": {"config": ...,              trained once
               "paired": true,             or once for each seed
               "published": 79.4},         a number of a paper, shown beside ours
   "select": {"seeds": [100, 101],         if given, settings are chosen by these seeds
              "options": [...]},           on the validation set that these options name
   "students": {
     "KD": {"config": ..., "options": ["KEY=VALUE", ...], "minutes": 3,
            "grid": {"KEY": [1, 3, 9]}},   settings to try: all combinations,
     "IC-KD": {"config": ...,
               "settings": [["KEY=VALUE", ...], ...]}}}   or a list of them

It leaves in OUT: results.md (the table), results.json (its rows), results.jsonl (a line for each
run, written after each), rows.png, curves.png, and the folder of each run.

The same command goes on where it was stopped, by --minutes, Ctrl-C, SIGTERM or a kill: runs that
are done are kept, one that was stopped goes on from its last checkpoint.

exit codes: 0 all is done, 1 a run failed or the plan is wrong, 3 time is up, 130 Ctrl-C,
143 SIGTERM
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", type=Path, metavar="PLAN", help="JSON file")
    parser.add_argument("--out", type=Path, help="folder of all runs (work_dirs/NAME_OF_THE_PLAN)")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], help="KEY=VALUE pairs for every run's config"
    )
    add_run_arguments(parser)
    add_json_argument(parser)
    args = parser.parse_args(argv)
    args.out = (args.out or Path("work_dirs") / args.comparison.stem).resolve()
    return args


def add_run_arguments(
    parser: argparse.ArgumentParser,
    seeds: int = 3,
    which: str = "seeds of each student: 0 to SEEDS - 1",
) -> None:
    """Add the arguments of everything that trains several runs.

    Args:
        parser: the parser to extend.
        seeds: how many there are by default.
        which: what they are, for the help.
    """
    parser.add_argument("--seeds", type=positive_int, default=seeds, help=f"{which} ({seeds})")
    cores = min(available_cores(), 4)
    parser.add_argument(
        "--workers", type=positive_int, default=cores,
        help="runs side by side, of one CPU thread each, on a GPU too (one per core, at most 4)",
    )  # fmt: skip
    parser.add_argument(
        "--minutes",
        type=positive_float,
        help="stop after that time; the same command goes on from there",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done yet, then print and write the table."""
    args = parse_args(argv)
    return stoppable(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """All runs, and what came out."""
    comparison = read_comparison(args.comparison, args.out, range(args.seeds), args.cfg_options)

    def keep() -> None:
        write_lines(args.out / "results.jsonl", comparison.records())

    env = environment()
    launch = quickest(env, args.out)
    with progress() as (say, show):
        scheduler = Scheduler(
            args.workers, env, say=say, show=show, launch=launch, minutes=args.minutes,
            after_each=keep,
        )  # fmt: skip
        for jobs in comparison.rounds():
            say(f"{len(jobs)} runs, {args.workers} at a time, below {args.out}")
            scheduler.run(jobs)
            keep()
    rows = rows_of(comparison)
    texts = [comparison.as_markdown(), comparison.missing(), comparison.note()]
    write_results(args.out, "\n\n".join(filter(None, texts)), rows)
    if args.json:
        write_json(args.json, rows)
    unit = comparison.records()[-1]["unit"]
    plan = comparison.plan
    draw_curves(args.out / "curves.png", plan.title, plan.shown, unit, comparison.curves())
    draw_rows(args.out / "rows.png", plan.title, plan.shown, comparison.rows())
    print(f"runs       {args.out / 'results.jsonl'}")
    print(f"pictures   {args.out / 'rows.png'}, {args.out / 'curves.png'}")


def rows_of(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows of the table, for JSON."""
    return [asdict(row) for row in comparison.rows()]


def write_results(out: Path, text: str, data: object) -> None:
    """Print a table, and write it as Markdown and as JSON."""
    (out / "results.md").write_text(text + "\n")
    write_json(out / "results.json", data)
    print()
    show_markdown(text)
    print(f"\ntable      {out / 'results.md'}, {out / 'results.json'}")


class Terminated(BaseException):
    """SIGTERM came: an end as by Ctrl-C."""


def stoppable(work: Callable[[], None]) -> int:
    """Do something that goes on where it was stopped; the exit code."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        work()
    except (JobFailed, ValueError, OSError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except TimeIsUp as error:
        print(f"\n{error}")
        return 3
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Terminated:
        print("\nterminated; the same command goes on from here", file=sys.stderr)
        return 143
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the runs are being stopped: that once will do
    raise Terminated


if __name__ == "__main__":
    run_command(main)
