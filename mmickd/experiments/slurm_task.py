"""Function that runs on a node of a Slurm cluster: it starts the command of a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmickd.utils.collect_env import software_and_device
from mmickd.utils.json_files import write_json


def run_task(
    command: Sequence[str], log: Path, results: Path, folder: Path, env: Mapping[str, str]
) -> None:
    """Run a command, and write its exit code to ``results/JOB_ID.exit``.

    The file is JSON with 'code', 'seconds', and 'versions' (of a successful command) with the
    packages and the device of the node.

    A signal of Slurm to all processes of the job ends this one too: then no file is written, and
    the queue has the state of the job.

    Args:
        command: The command.
        log: File for its output.
        results: Folder for the exit code.
        folder: Working directory.
        env: Variables to add to the environment of the node.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit ignores it
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # submitit's requests for a checkpoint
    begin = time.monotonic()
    with log.open("w") as file:
        code = subprocess.call(
            list(command), stdout=file, stderr=subprocess.STDOUT, cwd=folder,
            env={**os.environ, **env},
        )  # fmt: skip
    seconds = round(time.monotonic() - begin, 1)
    versions = software_and_device() if code == 0 else {}
    write_json(
        results / f"{os.environ['SLURM_JOB_ID']}.exit",
        dict(code=code, seconds=seconds, versions=versions),
    )
    if code:  # so that Slurm shows the job as failed
        sys.exit(code if code > 0 else 128 - code)
