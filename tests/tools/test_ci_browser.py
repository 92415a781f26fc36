"""``.ci/browser`` installs a browser if there is none, and never fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "browser"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="not a checkout")


def run(folder: Path, **programs: str) -> list[str]:
    """Run the script with only ``programs`` on PATH.

    Returns:
        Calls of apt-get, without its ``-o`` options.
    """
    calls = folder / "calls"
    calls.touch()
    for name, body in {"id": "echo 0", **programs}.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\n{body.replace('CALLS', str(calls))}\n")
        file.chmod(0o755)
    for name in ("bash", "timeout", "sh"):
        (folder / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run([SCRIPT], env={**os.environ, "PATH": str(folder)}, timeout=60)
    assert done.returncode == 0
    return calls.read_text().splitlines()


APT = 'for word; do case $word in update|install|chromium) echo "$word" >> CALLS;; esac; done'


def test_an_installed_browser_is_kept(tmp_path: Path) -> None:
    assert run(tmp_path, **{"google-chrome": "exit 1", "apt-get": APT}) == []


@pytest.mark.parametrize("code", [0, 100])
def test_root_installs_chromium_and_failing_is_no_error(tmp_path: Path, code: int) -> None:
    calls = run(tmp_path, **{"apt-get": f"{APT}\nexit {code}"})
    assert calls == ["update", "install", "chromium"]


def test_other_users_and_systems_install_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, **{"apt-get": APT, "id": "echo 1000"}) == []
    (tmp_path / "bare").mkdir()
    assert run(tmp_path / "bare") == []
