"""Tools as a user runs them, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.forkserver import run_python
from tests.helpers.tiny import dump

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CommandResult:
    """Exit code, output (stdout and stderr together) and run time of a command."""

    code: int
    text: str
    seconds: float

    def ok(self) -> str:
        """Return the output; the exit code must be 0."""
        assert self.code == 0, self.text[-3000:]
        return self.text


def command(
    *words: str | Path, cwd: Path | None = None, timeout: float = 150, **env: str
) -> CommandResult:
    """Run a command to its end.

    The tools of this repository and ``-m mmickd`` start with their imports done
    (:mod:`tests.helpers.forkserver`); other paths to import from are added to theirs.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LOCAL_RANK", "RANK")
    }
    full_env = {**inherited, "PATH": path, "PYTHON": sys.executable, **env}
    first, *rest = (str(word) for word in words)
    start = time.monotonic()
    is_own = " ".join(rest).startswith((f"{ROOT / 'tools'}", "-m mmickd "))
    if first == sys.executable and is_own and env.keys() <= {"PYTHONPATH"}:
        process = run_python(rest, cwd, full_env, timeout)
    else:
        process = subprocess.run(
            [first, *rest],
            cwd=cwd,
            env=full_env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    return CommandResult(process.returncode, process.stdout, time.monotonic() - start)


def config_folder(toy: toys.Toy, **configs: Config) -> Path:
    """Write configs by name, and the teacher (``teacher.py``, ``teacher.pth``), to a new folder."""
    folder = toys.new_folder()
    for name, cfg in dict(configs, teacher=toy.teacher_cfg).items():
        dump(cfg, folder / f"{name}.py")
    (folder / "teacher.pth").symlink_to(toy.checkpoint)
    return folder


def logged_losses(work_dir: Path) -> list[dict[str, float]]:
    """Return the lines of the latest log that have a loss, one per step."""
    path = max(work_dir.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def stock_tool(package: str, name: str) -> Path:
    """Return the path of ``tools/<name>.py`` in an installed ``package``."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / ".mim" / "tools" / f"{name}.py"


def blocked_mmickd(folder: Path) -> dict[str, str]:
    """Return an environment in which ``import mmickd`` fails as if it was not installed."""
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
