"""Tools as a user runs them: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.helpers.warm import run_python

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CommandResult:
    """How a command ended."""

    code: int
    text: str
    seconds: float

    def ok(self) -> str:
        """Its output, if it ended well."""
        assert self.code == 0, self.text[-3000:]
        return self.text


def command(
    *words: str | Path, cwd: Path | None = None, timeout: float = 150, **env: str
) -> CommandResult:
    """Run a command and wait; stdout and stderr together.

    Our own tools begin with their imports done (:mod:`tests.helpers.warm`).
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LOCAL_RANK", "RANK")}
    whole = {**clean, "PATH": path, "PYTHON": sys.executable, **env}
    first, *rest = (str(word) for word in words)
    begin = time.monotonic()
    if first == sys.executable and rest[0].startswith(f"{ROOT / 'tools'}") and not env:
        done = run_python(rest, cwd, whole, timeout)
    else:
        done = subprocess.run(
            [first, *rest],
            cwd=cwd,
            env=whole,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    return CommandResult(done.returncode, done.stdout, time.monotonic() - begin)


def stock_tool(package: str, name: str) -> Path:
    """``tools/<name>.py`` as ``package`` installs it."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / ".mim" / "tools" / f"{name}.py"


def blocked_mmickd(folder: Path) -> dict[str, str]:
    """Environment in which ``import mmickd`` fails, as where it is not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class NotInstalled:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'mmickd':\n"
        "            raise ModuleNotFoundError(\"No module named 'mmickd'\", name='mmickd')\n"
        "sys.meta_path.insert(0, NotInstalled)\n"
    )
    return {"PYTHONPATH": str(folder)}
