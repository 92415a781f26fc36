"""The command line of ``mmickd bank``, and ``tools/bank.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmickd.commands import bank

SCRIPT = Path(__file__).parents[2] / "tools" / "bank.py"


@pytest.mark.parametrize(
    ("args", "command"),
    [
        ([], "list"),
        (["--cache-dir", "x"], "list"),
        (["list"], "list"),
        (["verify"], "verify"),
        (["configs/demo/digits_ickd.py"], "build"),
        (["run.py", "--cfg-options", "a=1"], "build"),
        (["build", "list"], "build"),
        (["prune", "--all"], "prune"),
        (["export", "run.py", "--out", "x.npz"], "export"),
    ],
)
def test_a_first_word_that_is_no_command_is_a_config(args: list[str], command: str) -> None:
    assert bank.parse_args(args).command == command


@pytest.mark.parametrize(
    "args",
    [
        ["prune"],
        ["prune", "--dry-run"],
        ["list", "--all"],
        ["verify", "--dry-run"],
        ["prune", "--max-gib", "-1"],
        ["prune", "--older-than", "nan"],
        ["build"],
        ["export", "x"],
        ["--broken"],
        ["list", "config.py"],
    ],
)
def test_invalid_arguments(args, capsys):
    with pytest.raises(SystemExit) as end:
        bank.parse_args(args)
    assert end.value.code == 2 and "usage:" in capsys.readouterr().err


def test_as_a_script_without_an_installation(tmp_path):
    """It runs in another folder; the cache folder is set by an environment variable and missing."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        env={**os.environ, "MMICKD_CACHE_DIR": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"0 banks, 0.00 GiB in {tmp_path / 'none'}\n")
    assert not (tmp_path / "none").exists()
