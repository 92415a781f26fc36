"""Train a teacher and several students over paired seeds, and print one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from mmickd.commands.arguments import run_command
from mmickd.commands.comparing.comparison import read_comparison
from mmickd.commands.comparing.jobs import environment
from mmickd.commands.comparing.scheduler import JobFailed, Scheduler, available_cores
from mmickd.commands.comparing.table import note


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path, help="JSON file, see benchmarks/README.md")
    parser.add_argument("--out", type=Path, help="folder of all runs (work_dirs/NAME_OF_THE_FILE)")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], help="KEY=VALUE pairs for every run's config"
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    args.out = (args.out or Path("work_dirs") / args.comparison.stem).resolve()
    return args


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of everything that trains several runs."""
    parser.add_argument("--seeds", type=_count, default=3, help="seeds of each student")
    cores = min(available_cores(), 4)
    parser.add_argument(
        "--workers", type=_count, default=cores, help="runs side by side (one per core, at most 4)"
    )


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done yet, then print and write the table."""
    args = parse_args(argv)
    return stoppable(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """All runs, and what came out."""
    seeds = range(args.seeds)
    comparison = read_comparison(args.comparison, args.out, seeds, args.cfg_options)
    jobs = comparison.jobs()
    print(f"{len(jobs)} runs, {args.workers} at a time, below {args.out}", flush=True)
    Scheduler(jobs, args.workers, environment()).run()
    text = f"{comparison.as_markdown()}\n\n{note(comparison.seeds)}"
    rows = [asdict(row) for row in comparison.rows()]
    write_results(args.out, text, rows)


def write_results(out: Path, text: str, data: object) -> None:
    """Print a table, and write it as Markdown and as JSON."""
    (out / "results.md").write_text(text + "\n")
    (out / "results.json").write_text(json.dumps(data, indent=2) + "\n")
    print(f"\n{text}\n\ntable      {out / 'results.md'}, {out / 'results.json'}")


def stoppable(work: Callable[[], None]) -> int:
    """Do something that goes on where it was stopped; the exit code."""
    try:
        work()
    except (JobFailed, ValueError, OSError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
