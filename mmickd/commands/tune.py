"""Search for weights, numbers of rows, temperatures; vanilla KD alone gets as many trials."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmickd.commands.arguments import (
    add_config_argument,
    positive_int,
    read_config,
    run_command,
)
from mmickd.commands.compare import add_run_arguments, stoppable, write_results
from mmickd.commands.terminal import add_json_argument, progress
from mmickd.experiments.jobs import environment
from mmickd.experiments.methods import metric_of, read_methods
from mmickd.experiments.processes import quickest
from mmickd.experiments.records import write_lines
from mmickd.experiments.scheduler import JobFailed, Scheduler
from mmickd.experiments.search import import_optuna
from mmickd.experiments.tuning import FIRST_SEED, Tuning
from mmickd.experiments.tuning_table import as_markdown, commands, note
from mmickd.utils.config import parse_options
from mmickd.utils.json_files import write_json

EPILOG = """
Without --vary it searches, for each term of the config that counts, the weight (a tenth to ten
times what the config has) and the numbers of rows and temperatures (a quarter to four times), all
by factors. The first trial is the config as it is. Vanilla KD alone gets as many trials, over its
weight and temperature, so that neither is tuned harder. See docs/tuning.md. It needs optuna:
pip install "mmickd[tune]".

It leaves in OUT: results.md (the table), results.json (its rows and all trials), results.jsonl (a
line for each run), study.journal (optuna's study), and the folder of each run, in trials.

The same command goes on where it was stopped, by --minutes, Ctrl-C, SIGTERM or a kill: trials that
are done are kept; with a larger --trials it goes on too.

exit codes: 0 all is done, 1 a run failed or the input is wrong, 3 time is up, 130 Ctrl-C,
143 SIGTERM
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_argument(parser)
    parser.add_argument(
        "--trials", type=positive_int, required=True, help="of each of the two methods"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="of every run's config"
    )
    parser.add_argument(
        "--vary", nargs="+", default=[], metavar="NAME=LOW:HIGH[:log]",
        help="search these alone: TERM.num_negatives=4:64:log, or a key of the config",
    )  # fmt: skip
    parser.add_argument(
        "--select-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="options by which the trials validate on data that is for choosing only",
    )  # fmt: skip
    parser.add_argument(
        "--metric", help="key in the log of which more is better (accuracy/top1, or mIoU)"
    )
    parser.add_argument("--out", type=Path, help="folder of all runs (work_dirs/CONFIG_tune)")
    parser.add_argument("--search-seed", type=int, default=0, help="of the search (0)")
    add_run_arguments(
        parser, 1, f"runs of each trial, whose mean counts; their seeds are {FIRST_SEED} and on"
    )
    add_json_argument(parser)
    args = parser.parse_args(argv)
    args.out = (args.out or Path("work_dirs") / f"{Path(args.config).stem}_tune").resolve()
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials that are not done yet, then print and write what came out."""
    args = parse_args(argv)
    return stoppable(lambda: tune(args))


def tune(args: argparse.Namespace) -> None:
    """All trials, and what came out."""
    import_optuna()  # which may be missing: better said before a model is built
    cfg = read_config(args.config, parse_options(args.cfg_options))
    metric = args.metric or metric_of(cfg)
    methods = read_methods(cfg, args.cfg_options, args.vary, args.out)
    tuning = Tuning(methods, metric, args.out, args.seeds, args.select_options, args.search_seed)
    train(tuning, args)

    rows = tuning.rows()
    table = as_markdown(Path(args.config).stem, metric, rows)
    said = [table, note(rows, bool(args.select_options))]
    found = {
        "metric": metric,
        "rows": [{**asdict(row), "command": row.command} for row in rows],
        "trials": tuning.trials(),
    }
    write_results(args.out, "\n\n".join(said), found)
    with (args.out / "results.md").open("a") as file:  # on the screen they stand below, unwrapped
        file.write(f"\n```bash\n{commands(rows)}\n```\n")
    if args.json:
        write_json(args.json, found)
    print(f"runs       {args.out / 'results.jsonl'}, {args.out / 'trials'}\n")
    print(commands(rows))


def train(tuning: Tuning, args: argparse.Namespace) -> None:
    """The runs of all trials that are not done yet."""

    def keep() -> None:
        write_lines(args.out / "results.jsonl", tuning.records())

    with progress() as (say, show):

        def failed(error: JobFailed) -> None:
            if not scheduler.done and not tuning.has_results():  # nothing says that any would work
                raise error
            say(str(error))

        env = environment()
        scheduler = Scheduler(
            args.workers, env, say=say, show=show, launch=quickest(env, args.out),
            minutes=args.minutes, on_failure=failed,
        )  # fmt: skip
        for jobs in tuning.rounds(args.trials, args.workers):
            keep()
            say(f"{len(jobs)} runs, {args.workers} at a time, below {args.out}")
            scheduler.run(jobs)
        keep()


if __name__ == "__main__":
    run_command(main)
