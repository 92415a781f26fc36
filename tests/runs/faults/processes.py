"""Runs whose processes can be killed one by one and counted afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.helpers.commands import ROOT

DEADLINE = 240.0
"""Seconds that a run may take to its next place on a slow machine."""


class Training:
    """``tools/train.py`` or ``tools/dist_train.sh`` in a new session.

    torchrun starts its ranks in new sessions too. So a word in the environment marks the processes
    of a run; every process passes it to its children.

    Args:
        ranks: Number of ranks; 1 runs ``train.py``, more run ``dist_train.sh``.
        arguments: Arguments of the tool, the config first.
        output: File for the output.
        env: Variables added to the environment.
    """

    def __init__(self, ranks: int, arguments: list[str], output: Path, env: dict[str, str]) -> None:
        self.ranks, self.output = ranks, output
        self._word = f"FAULTS_RUN={uuid.uuid4().hex}".encode()
        config, *rest = arguments
        words = (
            [sys.executable, str(ROOT / "tools/train.py"), config, *rest]
            if ranks == 1
            else ["bash", str(ROOT / "tools/dist_train.sh"), config, str(ranks), *rest]
        )
        inherited = {
            k: v
            for k, v in os.environ.items()
            if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE") and not k.startswith("FAULTS_")
        }
        name, _, value = self._word.decode().partition("=")
        with open(output, "wb") as file:
            self._popen = subprocess.Popen(
                words,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **inherited,
                    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                    "PYTHON": sys.executable,
                    "PYTHONPATH": str(ROOT),
                    name: value,
                    **env,
                },
            )

    @property
    def text(self) -> str:
        """The output so far."""
        return self.output.read_text(errors="replace")

    def exit_code(self) -> int | None:
        """Return the exit code; None while the run lasts."""
        return self._popen.poll()

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = DEADLINE) -> bool:
        """Wait until a condition is true or the run ends; returns the condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until():
                return True
            if self.exit_code() is not None:
                return until()
            time.sleep(0.01)
        return False

    def kill(self, rank: int) -> bool:
        """Send SIGKILL to the process of one rank; False if there is none."""
        process = self._process_of(rank)
        if process is None:
            return False
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def end_orphans(self, seconds: float = 30.0) -> list[str]:
        """End and return the processes of the run that are still alive after ``seconds``."""
        deadline = time.monotonic() + seconds
        while (pids := self._pids()) and time.monotonic() < deadline:
            self.exit_code()
            time.sleep(0.05)
        orphans = [f"{pid}: {_read(pid, 'cmdline').replace(bytes(1), b' ')!r}" for pid in pids]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return orphans

    def _pids(self) -> list[int]:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in numbers if self._word in _read(pid, "environ").split(bytes(1))]

    def _process_of(self, rank: int) -> int | None:
        if self.ranks == 1:
            return self._popen.pid if self.exit_code() is None else None
        # the workers of a loader have the rank's environment too, but the rank as their parent
        variable = f"RANK={rank}".encode()
        for pid in self._pids():
            if (
                variable in _read(pid, "environ").split(bytes(1))
                and _parent(pid) == self._popen.pid
            ):
                return pid
        return None


def _read(pid: int, name: str) -> bytes:
    """Read a file of ``/proc``; empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return int(after_name[1]) if after_name else 0
