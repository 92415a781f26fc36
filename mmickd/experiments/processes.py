"""Ways to start the command of a job."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol


class Process(Protocol):
    """A started command: a part of :class:`subprocess.Popen`."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


_LIBC: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Launch = Callable[[Sequence[str], Path, dict[str, str]], Process]
"""Starts a command, with its output in a file, in an environment."""


def spawn(command: Sequence[str], log: Path, env: dict[str, str]) -> Process:
    """Start any command, as a shell does; it ends with this process."""
    with log.open("w") as file:
        return subprocess.Popen(
            list(command),
            stdout=file,
            stderr=subprocess.STDOUT,
            env=env,
            preexec_fn=_end_with_parent if _LIBC is not None else None,
        )


def _end_with_parent() -> None:
    """Have Linux end this process when its parent does, even by a kill.

    Elsewhere a comparison that is killed leaves the runs that it had started.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_with_starter() -> None:
    """The same for a fork, whose parent is not the process that had it started, and outlives it."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_follow, args=(starter,), daemon=True).start()


def _follow(process: multiprocessing.process.BaseProcess) -> None:
    process.join()
    os.kill(os.getpid(), signal.SIGTERM)


def can_fork() -> bool:
    """Whether runs may be forked off a process that has imported torch.

    Not where there is a GPU, which a process must not have looked at before it forks, and only on
    Linux: the system libraries of macOS do not survive a fork.
    """
    import torch

    return sys.platform.startswith("linux") and not torch.cuda.is_available()


class WarmStart:
    """Starts Python scripts in forks of one process that has done their imports.

    A short run of the stack imports for a third of its time. The script is run as ever, from its
    first line, with its own arguments; only what it imports is there already.

    Python has one such process at a time: there is no second one with other imports. It needs a
    main script with ``if __name__ == "__main__"``, see :mod:`multiprocessing`.

    Args:
        module: it is imported, with all that it imports.
        env: added to the environment of the imports.
        log: file for their output.
    """

    def __init__(self, module: str, env: dict[str, str], log: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([module])
        log.parent.mkdir(parents=True, exist_ok=True)
        before, streams = dict(os.environ), [os.dup(1), os.dup(2)]
        os.environ.update(env)
        _write_to(log)
        try:  # it goes on importing while the first job is got ready
            multiprocessing.forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
                os.close(stream)

    def __call__(self, command: Sequence[str], log: Path, env: dict[str, str]) -> Process:
        """Start ``python script ...`` or ``python -m module ...``."""
        return Fork(self._context, list(command[1:]), log, env)


def quickest(env: dict[str, str], out: Path) -> Launch:
    """The quickest way to start training runs on this machine.

    Args:
        env: added to the environment of the imports.
        out: folder for their output.
    """
    if can_fork():
        return WarmStart("mmickd.experiments.imports", env, out / "imports.txt")
    return spawn


class Fork:
    """A run in a process of multiprocessing, as a :class:`Process`.

    Args:
        context: how the process starts.
        arguments: of Python.
        log: for its output.
        env: its whole environment.
    """

    def __init__(
        self,
        context: multiprocessing.context.ForkServerContext,
        arguments: list[str],
        log: Path,
        env: dict[str, str],
    ) -> None:
        self._process = context.Process(target=become_python, args=(arguments, log, env))
        self._process.start()
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self._process.exitcode


def become_python(
    arguments: list[str], log: Path, env: dict[str, str], folder: Path | None = None
) -> None:
    """Do in this process what ``python *arguments`` does in one of its own.

    Args:
        arguments: ``[script, ...]`` or ``["-m", module, ...]``.
        log: for its output.
        env: its whole environment.
        folder: to run in; None: where this process is.
    """
    _end_with_starter()
    _write_to(log)
    os.environ.clear()
    os.environ.update(env)
    if folder is not None:
        os.chdir(folder)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")


def _write_to(log: Path) -> None:
    """Send what this process writes to a new file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
