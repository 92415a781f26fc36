"""Code blocks of the documentation's pages, run as a reader would run them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

from tests.helpers.command_server import CommandServer
from tests.helpers.forkserver import ROOT, run_python

FILE_NAME = re.compile(r"# ([\w./-]+\.py)\n")
"""First line of a Python block that is a file of this name."""
LINKS = ("configs", "tools", "results")
"""Folders of the repository that stand in the working directory of a page."""
TIMEOUT = 240
"""Seconds that a block may take."""


class Page:
    """Working directory of a page, with ``mmickd`` on ``PATH`` and an empty cache.

    The blocks of a page run in their order. After the first block that fails, the others are
    skipped, since most blocks need the files of earlier ones.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mmickd-page-"))
        self.folder = self.root / "work"
        programs = self.root / "bin"
        for folder in (self.folder, programs):
            folder.mkdir()
        for name in LINKS:
            if (ROOT / name).exists():
                (self.folder / name).symlink_to(ROOT / name)
        self.server = CommandServer(programs)
        self.env = {
            **{k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK")},
            "PATH": os.pathsep.join(
                [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "PYTHONPATH": str(ROOT),
            "MMICKD_CACHE_DIR": str(self.root / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
        }
        self.has_failed = False

    def close(self) -> None:
        """Remove the working directory."""
        self.server.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def bash(self, source: str) -> str | None:
        """Run a bash block; return its output if it fails, else None."""
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", source],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group that can be killed as a whole
            )
            try:
                code = process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            log.seek(0)
            return self._result(code, log.read())

    def python(self, source: str) -> str | None:
        """Write a Python block that begins with a file name, else run it; see :meth:`bash`.

        A block that is run is a program: it does not see the variables of other blocks.
        """
        if match := FILE_NAME.match(source):
            path = self.folder / match[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
            return None
        (self.folder / "_block.py").write_text(source)
        done = run_python([str(self.folder / "_block.py")], self.folder, self.env, TIMEOUT)
        return self._result(done.returncode, done.stdout)

    def _result(self, code: int, output: str) -> str | None:
        print(output)
        self.has_failed = code != 0
        return f"The block ended with code {code}:\n{output[-6000:]}" if code else None


def set_up(namespace: dict[str, Any]) -> None:
    """Open the working directory of a page, before its first block."""
    namespace["page"] = Page()


def tear_down(namespace: dict[str, Any]) -> None:
    """Remove the working directory, after the last block."""
    namespace.pop("page").close()


def evaluate(example: Any) -> str | None:
    """Run a block of a page, for sybil."""
    page: Page = example.namespace["page"]
    if page.has_failed:
        raise SkipTest("an earlier block of the page failed")
    language = example.region.lexemes["arguments"]
    return (page.bash if language == "bash" else page.python)(str(example.parsed))
