"""Train a teacher and several students over paired seeds, and print one table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmickd.commands.arguments import run_command
from mmickd.commands.cluster import JOBS_AT_A_TIME, add_slurm_arguments, launch_of
from mmickd.commands.experiment import (
    EXIT_CODES,
    add_run_arguments,
    default_workers,
    exit_code_of,
    write_results,
)
from mmickd.commands.terminal import add_json_argument
from mmickd.experiments.comparison import Comparison
from mmickd.experiments.plan import read_plan

EPILOG = f"""
The plan is a JSON file, see docs/commands/compare.md:
  {{"metric": "accuracy/top1",              key in the log; more is better
   "teacher": {{"config": ...,              trained once
               "paired": true,             or once for each seed
               "published": 79.4}},         number of a paper, shown beside the result
   "select": {{"seeds": [100, 101],         optional: settings are chosen by these seeds
              "options": [...]}},           on the validation set that these options name
   "students": {{
     "KD": {{"config": ..., "options": ["KEY=VALUE", ...], "minutes": 3,
            "grid": {{"KEY": [1, 3, 9]}}}},   settings to try: all combinations,
     "IC-KD": {{"config": ...,
               "settings": [["KEY=VALUE", ...], ...]}}}}}}   or a list of them

Files in OUT: results.md (the table), results.json (its rows), results.jsonl (a line for each run,
written after each), rows.png, curves.png, and the folder of each run.
{EXIT_CODES}"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", type=Path, metavar="PLAN", help="JSON file")
    parser.add_argument("--out", type=Path, help="folder of all runs (default: work_dirs/PLAN)")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="options for the config of every run",
    )  # fmt: skip
    add_run_arguments(parser)
    add_slurm_arguments(parser)
    add_json_argument(parser)
    args = parser.parse_args(argv)
    args.out = (args.out or Path("work_dirs") / args.comparison.stem).resolve()
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the jobs that are not done yet, then print and write the table."""
    args = parse_args(argv)
    return exit_code_of(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Train all runs, print and write their results."""
    plan = read_plan(args.comparison)
    comparison = Comparison(plan, args.out, range(args.seeds), args.cfg_options)
    launch = launch_of(args)
    workers = args.workers or (JOBS_AT_A_TIME if launch else default_workers())
    comparison.run(workers, args.minutes, launch)
    texts = [comparison.as_markdown(), comparison.missing(), comparison.note()]
    write_results(args.out, "\n\n".join(filter(None, texts)), comparison.to_json(), args.json)
    pictures = comparison.draw()
    print(f"runs       {args.out / 'results.jsonl'}")
    print(f"pictures   {', '.join(map(str, pictures))}")


if __name__ == "__main__":
    run_command(main)
