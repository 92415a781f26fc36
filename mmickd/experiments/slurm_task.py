"""Function that runs on a node of a Slurm cluster: it starts the command of a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmickd.utils.atomic import atomic_write


def run_task(
    command: Sequence[str], log: Path, results: Path, folder: Path, env: Mapping[str, str]
) -> None:
    """Run a command and write its exit code and its seconds to ``results/JOB_ID.exit``.

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
    with atomic_write(results / f"{os.environ['SLURM_JOB_ID']}.exit") as temporary:
        temporary.write_text(f"{code} {time.monotonic() - begin:.1f}")
    if code:  # so that Slurm shows the job as failed
        sys.exit(code if code > 0 else 128 - code)
