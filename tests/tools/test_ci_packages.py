"""``.ci/packages`` installs a browser and Slurm if there is none, and never fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "packages"
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


PACKAGES = ("chromium", "slurm-wlm", "munge")
APT = f'for word; do case $word in update|{"|".join(PACKAGES)}) echo "$word" >> CALLS;; esac; done'
SLURM = dict.fromkeys(("sbatch", "munge"), "exit 1")


def test_installed_packages_are_kept(tmp_path: Path) -> None:
    programs = {"google-chrome": "exit 1", "apt-get": APT, **SLURM}
    assert run(tmp_path, **programs) == []


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    assert run(tmp_path, **{"apt-get": APT, **SLURM}) == ["update", "chromium"]


@pytest.mark.parametrize("code", [0, 100])
def test_root_installs_packages_and_failing_is_no_error(tmp_path: Path, code: int) -> None:
    calls = run(tmp_path, **{"apt-get": f"{APT}\nexit {code}"})
    assert calls == ["update", *PACKAGES]


def test_other_users_and_systems_install_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, **{"apt-get": APT, "id": "echo 1000"}) == []
    (tmp_path / "bare").mkdir()
    assert run(tmp_path / "bare") == []
