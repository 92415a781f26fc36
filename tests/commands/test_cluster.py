"""``--slurm`` where it cannot work: one error before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmickd.commands import compare, tune
from tests.helpers.slurm_programs import SlurmPrograms

PLAN = str(Path(__file__).resolve().parents[2] / "configs" / "demo" / "digits.json")


def run(out: Path, *words: str) -> int:
    return compare.main([PLAN, "--out", str(out), *words])


def test_options_need_a_partition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", "--slurm-options", "timeout_min=5") == 1
    assert "--slurm PARTITION" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_submitit_the_message_has_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert run(tmp_path / "out", "--slurm", "debug") == 1
    assert "mmickd[slurm]" in capsys.readouterr().err
    pytest.importorskip("optuna")
    words = ["--trials", "1", "--out", str(tmp_path / "out"), "--slurm", "debug"]
    assert tune.main(["configs/demo/digits_ickd.py", *words]) == 1
    assert "mmickd[slurm]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_slurm_the_missing_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(tmp_path / "out", "--slurm", "debug") == 1
    assert "sbatch" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_partition_is_named_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    SlurmPrograms(tmp_path / "bin", monkeypatch)
    assert run(tmp_path / "out", "--slurm", "nowhere") == 1
    message = capsys.readouterr().err
    assert "nowhere" in message and "debug" in message
    assert not (tmp_path / "out").exists()
