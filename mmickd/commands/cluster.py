"""Arguments of commands whose runs may be jobs of a Slurm cluster."""

from __future__ import annotations

import argparse

from mmickd.experiments.launch import Launch
from mmickd.experiments.slurm import cancel_left_jobs, slurm_launch
from mmickd.utils.config import parse_options
from mmickd.utils.errors import ICKDError

JOBS_AT_A_TIME = 32
"""Default of ``--workers`` where many jobs may wait in the queue."""


def add_slurm_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--slurm`` and ``--slurm-options``; ``--workers`` is None by default."""
    parser.set_defaults(workers=None)
    parser.add_argument(
        "--slurm", metavar="PARTITION",
        help="submit each run as a job of this partition of a Slurm cluster; the nodes must share "
        "the folder --out, the data and this environment; --workers is then the number of jobs "
        'at a time; needs submitit: pip install "mmickd[slurm]"',
    )  # fmt: skip
    parser.add_argument(
        "--slurm-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="options of each job, by submitit's names: timeout_min, cpus_per_task, mem_gb, "
        "gpus_per_node (1 if the partition has GPUs), slurm_account, slurm_qos, "
        "slurm_additional_parameters.NAME for any option of sbatch",
    )  # fmt: skip


def launch_of(args: argparse.Namespace) -> Launch | None:
    """Return the function that submits runs to Slurm; None without ``--slurm``.

    Jobs that an earlier start left in the queue are cancelled in both cases.

    Args:
        args: Arguments with ``out`` and those of :func:`add_slurm_arguments`.

    Raises:
        ICKDError: If the arguments are wrong, or Slurm or submitit are missing.
    """
    if args.slurm is None and args.slurm_options:
        raise ICKDError("--slurm-options needs --slurm PARTITION.")
    launch = None
    if args.slurm is not None:
        launch = slurm_launch(args.out, args.slurm, parse_options(args.slurm_options))
    count = cancel_left_jobs(args.out)
    if count:
        print(f"cancelled {count} Slurm jobs of an earlier start of this command", flush=True)
    return launch
