"""Fork server: a process that imports torch and OpenMMLab once, and forks runs.

A short run would spend more time on these imports than on its training.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PARTS = ("models", "datasets", "engine", "evaluation")
STACK = (
    "matplotlib.pyplot",
    "mmengine.runner",
    "yapf.yapflib.yapf_api",
    "mmickd.hooks",
    *(f"{package}.{part}" for package in ("mmpretrain", "mmseg") for part in PARTS),
)
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LIBC: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Make Linux end this process when its parent ends, even if the parent is killed.

    On other systems the runs of a killed command continue.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def can_fork() -> bool:
    """True if runs may be forked from a process that has imported torch.

    A process that has initialised CUDA must not fork. System libraries of macOS do not work after a
    fork.
    """
    import torch

    return sys.platform.startswith("linux") and not torch.cuda.is_available()


def import_stack() -> None:
    """Import the packages of a run; failed imports are left to the run, which reports errors."""
    for name in STACK:
        with suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # no run has to traverse these objects again


class ForkServer:
    """Server that starts Python scripts in forks of one process, which has imported the stack.

    A script runs as usual, from its first line and with its arguments. All runs end when the
    process that created this object ends.

    Args:
        env: Environment of the server.
        log: File for the output of the imports.
    """

    def __init__(self, env: dict[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            self._server = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, env=env, text=True,
            )  # fmt: skip
        self._log, self._number = log, 0

    def __call__(self, command: Sequence[str], log: Path, env: dict[str, str]) -> ForkedProcess:
        """Start ``python script ...`` or ``python -m module ...``, with its output in ``log``."""
        return ForkedProcess(self, self.request(arguments=command[1:], log=str(log), env=env))

    def request(self, **request: Any) -> Any:
        """Send a request to the server and return its reply.

        Raises:
            ChildProcessError: If the server has ended.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        self._number += 1
        print(json.dumps([self._number, request]), file=self._server.stdin, flush=True)
        for line in self._server.stdout:
            number, reply = json.loads(line)
            if number == self._number:  # other replies belong to requests that Ctrl-C interrupted
                return reply
        raise ChildProcessError(f"the process that starts the runs has ended, see {self._log}")


class ForkedProcess:
    """Process of a :class:`ForkServer`, with some methods of :class:`subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server, self.pid = server, pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self._code is None:
            try:
                self._code = self._server.request(pid=self.pid)
            except OSError:  # the server was killed, and its runs end with it
                self._code = -signal.SIGTERM
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def run_python(
    arguments: Sequence[str], log: Path, env: dict[str, str], folder: Path | None = None
) -> None:
    """Run ``python *arguments > log`` in this process.

    ``arguments`` are ``[script, ...]`` or ``["-m", module, ...]``, ``env`` is the whole environment
    and ``folder`` the working directory (None: the present one).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    if folder is not None:
        os.chdir(folder)
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")


def _serve() -> None:
    """Fork runs and return their exit codes, one request a line, until the input ends."""
    # the main process stops the runs; a new run receives what was sent before it was ready
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of imports must not mix with the replies
    import_stack()
    for line in sys.stdin:
        number, request = json.loads(line)
        if "pid" in request:
            has_ended, status = os.waitpid(request["pid"], os.WNOHANG)
            reply = os.waitstatus_to_exitcode(status) if has_ended else None
        elif (reply := os.fork()) == 0:
            replies.close()
            end_with_parent()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            return run_python(request["arguments"], Path(request["log"]), request["env"])
        print(json.dumps([number, reply]), file=replies, flush=True)


if __name__ == "__main__":
    _serve()
