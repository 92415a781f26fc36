"""Runs as processes that can be killed one by one, and be counted afterwards."""

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
"""Seconds for whatever a run does next, on a machine however slow."""


class Training:
    """``tools/train.py`` or ``tools/dist_train.sh`` in a session of its own.

    torchrun gives its ranks sessions of their own too. So the processes of a run are told by a
    word in their environment, which every process hands on.

    Args:
        ranks: 1 runs ``train.py``, more ``dist_train.sh``.
        arguments: config first.
        output: file for what is printed.
        env: added to the environment.
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
        """What was printed by now."""
        return self.output.read_text(errors="replace")

    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self._popen.poll()

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = DEADLINE) -> bool:
        """Wait for something, or for the end; whether it came (an end is none)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until():
                return True
            if self.ended() is not None:
                return until()
            time.sleep(0.01)
        return False

    def kill(self, rank: int) -> bool:
        """SIGKILL for the process of one rank; False if it is not there (any more)."""
        process = self._process_of(rank)
        if process is None:
            return False
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def left(self, seconds: float = 30.0) -> list[str]:
        """Processes of the run that are still there after ``seconds``; ends them."""
        deadline = time.monotonic() + seconds
        while (pids := self._pids()) and time.monotonic() < deadline:
            self.ended()
            time.sleep(0.05)
        found = [f"{pid}: {_read(pid, 'cmdline').replace(bytes(1), b' ')!r}" for pid in pids]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found

    def _pids(self) -> list[int]:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in numbers if self._word in _read(pid, "environ").split(bytes(1))]

    def _process_of(self, rank: int) -> int | None:
        if self.ranks == 1:
            return self._popen.pid if self.ended() is None else None
        # a loader's process has the rank's environment too, but the rank as its parent
        wanted = f"RANK={rank}".encode()
        for pid in self._pids():
            if wanted in _read(pid, "environ").split(bytes(1)) and _parent(pid) == self._popen.pid:
                return pid
        return None


def _read(pid: int, name: str) -> bytes:
    """A file of ``/proc``; empty for a process that is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return int(after_name[1]) if after_name else 0
