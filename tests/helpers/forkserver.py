"""Processes that start with torch and OpenMMLab imported: forks of one process that imported them.

The imports take longer than most runs of the tests do.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
_STARTING = threading.Lock()


def start_method() -> str:
    """Return the start method of multiprocessing for the tests; starts the fork server if needed.

    A process that has looked at a GPU cannot be forked, nor can the system libraries of macOS.
    """
    if not sys.platform.startswith("linux") or torch.cuda.is_available():
        return "spawn"
    with _STARTING:  # some tests have threads
        _start_server()
    return "forkserver"


@cache
def _start_server() -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.stack_imports"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # the server imports from here, wherever it is started
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def run_python(
    words: list[str], folder: Path | None, env: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run ``python *words`` to its end and return it with its output in ``stdout``.

    Args:
        words: A script with its arguments; it runs from its first line.
        folder: Working directory.
        env: The whole environment.
        timeout: Seconds that it may take.

    Raises:
        subprocess.TimeoutExpired: If it takes longer.
    """
    with tempfile.TemporaryDirectory(prefix="mmickd-run-") as log_folder:
        log = Path(log_folder) / "output"
        context = multiprocessing.get_context(start_method())
        process = context.Process(target=become_python, args=(words, log, env, folder))  # type: ignore[attr-defined]
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout, log.read_text(errors="replace"))
        text = log.read_text(errors="replace") if log.exists() else ""
        return subprocess.CompletedProcess(words, process.exitcode, text)


def become_python(
    words: list[str], log: Path, env: dict[str, str], folder: Path | None = None
) -> None:
    """Turn this process into ``python *words``.

    Args:
        words: ``[script, ...]`` or ``["-m", module, ...]``.
        log: File for the output.
        env: The whole environment.
        folder: Working directory; None: that of this process.
    """
    _end_with_starter()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    inherit(env, str(folder or os.getcwd()))
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


def inherit(env: dict[str, str], folder: str) -> None:
    """Take over environment and folder of the process that started this one.

    A fork has those of the server.
    """
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)


def _end_with_starter() -> None:
    """End this process when the process that started it ends; the fork's parent is the server."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_follow, args=(starter,), daemon=True).start()


def _follow(process: multiprocessing.process.BaseProcess) -> None:
    process.join()
    os.kill(os.getpid(), signal.SIGTERM)
