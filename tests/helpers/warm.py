"""Processes that begin with the stack imported: forks of one process that has done it.

Importing torch and OpenMMLab takes longer than most runs of the tests do.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

from mmickd.experiments import fork_server

ROOT = Path(__file__).resolve().parents[2]
_STARTING = threading.Lock()


def start_method() -> str:
    """How multiprocessing starts a process of the tests; what is forked off is there by then."""
    with _STARTING:  # tests have threads
        return _started()


@cache
def _started() -> str:
    if not fork_server.can_fork():
        return "spawn"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.imported_stack"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # it imports from there, wherever it is started
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return "forkserver"


def become_python(
    arguments: list[str], log: Path, env: dict[str, str], folder: Path | None = None
) -> None:
    """Do in this process what ``python *arguments`` does; it ends with the importing process."""
    fork_server.end_with_parent()
    fork_server.run_python(arguments, log, env, folder)


def run_python(
    words: list[str], folder: Path | None, env: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """``python *words`` to its end, its output in ``stdout``.

    Args:
        words: a script with its arguments, which starts as ever from its first line.
        folder: to run in.
        env: its whole environment.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: if it takes longer.
    """
    with tempfile.TemporaryDirectory(prefix="mmickd-run-") as place:
        log = Path(place) / "output"
        context = multiprocessing.get_context(start_method())
        process = context.Process(target=become_python, args=(words, log, env, folder))  # type: ignore[attr-defined]
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout, log.read_text(errors="replace"))
        text = log.read_text(errors="replace") if log.exists() else ""
        return subprocess.CompletedProcess(words, process.exitcode, text)


def take_over(env: dict[str, str], folder: str) -> None:
    """Be where the starting process was: a fork is where the importing process was."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
