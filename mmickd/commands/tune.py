"""Search for weights, numbers of rows and temperatures; vanilla KD alone gets as many trials."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmickd.commands.arguments import (
    add_config_argument,
    positive_int,
    read_config,
    run_command,
)
from mmickd.commands.cluster import add_slurm_arguments, launch_of
from mmickd.commands.experiment import (
    EXIT_CODES,
    add_run_arguments,
    default_workers,
    exit_code_of,
    write_results,
)
from mmickd.commands.terminal import add_json_argument
from mmickd.experiments.methods import metric_of, read_methods
from mmickd.experiments.search import import_optuna
from mmickd.experiments.tuning import FIRST_SEED, Tuning
from mmickd.utils.config import parse_options

EPILOG = f"""
Without --vary the search covers, for each term of the config whose weight is not 0, the weight (a
tenth to ten times the value of the config) and the numbers of rows and temperatures (a quarter to
four times), on a logarithmic scale. The first trial is the unchanged config. Vanilla KD alone gets
as many trials, over its weight and temperature, so that both get equal tuning. See
docs/commands/tune.md. This command needs optuna: pip install "mmickd[tune]".

Files in OUT: results.md (the table), results.json (its rows and all trials), results.jsonl (a line
for each run), study.journal (optuna's study), and the folder of each run, in trials. With a larger
--trials, the same command continues the search.
{EXIT_CODES}"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_argument(parser)
    parser.add_argument(
        "--trials", type=positive_int, required=True, help="number of trials of each method"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="options for the config of every run",
    )  # fmt: skip
    parser.add_argument(
        "--vary", nargs="+", default=[], metavar="NAME=LOW:HIGH[:log]",
        help="search only these ranges; NAME is TERM.OPTION, as in "
        "TERM.num_negatives=4:64:log, or a key of the config",
    )  # fmt: skip
    parser.add_argument(
        "--select-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="options of the trials, which then validate on data that is used only for the choice",
    )  # fmt: skip
    parser.add_argument(
        "--metric", help="key in the log; more must be better (accuracy/top1, or mIoU)"
    )
    parser.add_argument("--out", type=Path, help="folder of all runs (work_dirs/CONFIG_tune)")
    parser.add_argument("--search-seed", type=int, default=0, help="seed of the search (0)")
    add_run_arguments(
        parser, 1, f"number of runs of each trial, whose mean counts; seeds from {FIRST_SEED}"
    )
    add_slurm_arguments(parser)
    add_json_argument(parser)
    args = parser.parse_args(argv)
    args.out = (args.out or Path("work_dirs") / f"{Path(args.config).stem}_tune").resolve()
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials that are not done yet, then print and write the results."""
    args = parse_args(argv)
    return exit_code_of(lambda: tune(args))


def tune(args: argparse.Namespace) -> None:
    """Run all trials, print and write their results."""
    import_optuna()  # a missing package is reported before a model is built
    cfg = read_config(args.config, parse_options(args.cfg_options))
    metric = args.metric or metric_of(cfg)
    launch = launch_of(args)
    methods = read_methods(cfg, args.cfg_options, args.vary, args.out)
    tuning = Tuning(methods, metric, args.out, args.seeds, args.select_options, args.search_seed)
    tuning.run(args.trials, args.workers or default_workers(), args.minutes, launch)
    text = f"{tuning.as_markdown()}\n\n{tuning.note()}"
    write_results(args.out, text, tuning.to_json(), args.json)
    with (args.out / "results.md").open("a") as file:  # printed below, without line breaks
        file.write(f"\n```bash\n{tuning.commands()}\n```\n")
    print(f"runs       {args.out / 'results.jsonl'}, {args.out / 'trials'}\n")
    print(tuning.commands())


if __name__ == "__main__":
    run_command(main)
