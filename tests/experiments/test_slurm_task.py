"""Start of a job's command on a node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.jobs import wait_until

CALL = """
import sys
from pathlib import Path
from mmickd.experiments.slurm_task import run_task
here = Path(sys.argv[1])
run_task([sys.executable, "-c", sys.argv[2]], here / "log", here, here, {"COLOUR": "red"})
"""


def start(folder: Path, code: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "SLURM_JOB_ID": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", CALL, str(folder), code], env=env)


@pytest.mark.parametrize(
    ("end", "code", "job_code"), [("exit(0)", 0, 0), ("exit(3)", 3, 3), ("os.abort()", -6, 134)]
)
def test_the_exit_code_is_written(tmp_path: Path, end: str, code: int, job_code: int) -> None:
    text = "import os; print(os.getcwd(), os.environ['COLOUR'], flush=True);"
    assert start(tmp_path, text + end).wait(60) == job_code
    result = json.loads((tmp_path / "7.exit").read_text())
    assert result["code"] == code and 0 <= result["seconds"] < 60
    assert ("device" in result["versions"]) == (code == 0)
    assert (tmp_path / "log").read_text() == f"{tmp_path} red\n"


def test_a_signal_of_slurm_leaves_no_exit_code(tmp_path: Path) -> None:
    process = start(tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    log = tmp_path / "log"
    wait_until(lambda: log.is_file() and log.read_text().endswith("\n"), "the command began")
    for pid in (process.pid, int(log.read_text())):
        os.kill(pid, signal.SIGUSR2)  # a request of submitit, which changes nothing
    for pid in (process.pid, int(log.read_text())):
        os.kill(pid, signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    assert not (tmp_path / "7.exit").exists()
