"""Jobs of a Slurm cluster as processes, with stand-ins for Slurm's programs.

`tests/cluster/test_slurm.py` uses a real Slurm.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments import slurm as slurm_module
from mmickd.experiments.launch import QueuedProcess
from mmickd.experiments.slurm import SlurmProcess, cancel_left_jobs, slurm_launch
from mmickd.utils.errors import ICKDError
from tests.helpers.slurm_programs import SlurmPrograms

pytest.importorskip("submitit")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmPrograms:
    for name in ("LOOK_SECONDS", "LAG_SECONDS"):
        monkeypatch.setattr(slurm_module, name, 0.0)
    return SlurmPrograms(tmp_path / "bin", monkeypatch)


def launch(folder: Path, **options: Any) -> SlurmProcess:
    run = slurm_launch(folder, "debug", options)
    return run(["true"], folder / "log", {**os.environ, "COLOUR": "red"})


def write_exit(folder: Path, code: int, seconds: float = 1.5) -> None:
    result = dict(code=code, seconds=seconds, versions=dict(device="GPU"))
    (folder / "slurm" / "7.exit").write_text(json.dumps(result))


def has_left_name(folder: Path) -> bool:
    return (folder / "slurm" / "job_name").exists()


def test_a_job_has_the_options_and_the_environment(
    programs: SlurmPrograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "3")  # within an allocation
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    monkeypatch.setenv("SLURM_CONF", "file")
    options = {"timeout_min": 30, "mem_gb": 1.5, "slurm_account": "lab"}
    launch(tmp_path, **options, **{"slurm_additional_parameters.licenses": "a:1"})
    lines = programs.read("script").splitlines()
    expected = ("time=30", "mem=1536MB", "account=lab", "licenses=a:1", "partition=debug")
    for option in (*expected, "no-requeue"):
        assert f"#SBATCH --{option}" in lines
    assert not any("gpu" in line for line in lines)
    env = programs.read("env").splitlines()
    assert {"COLOUR=red", "SLURM_CONF=file"} <= set(env)
    assert not any(line.startswith(("SLURM_JOB_ID", "SLURM_MEM")) for line in env)
    assert "COLOUR" not in os.environ and os.environ["SLURM_JOB_ID"] == "3"


def test_a_job_gets_a_gpu_and_the_time_limit_of_its_partition(
    programs: SlurmPrograms, tmp_path: Path
) -> None:
    programs.set("gpus", "gpu:4")
    launch(tmp_path)
    script = programs.read("script")
    assert "#SBATCH --gpus-per-node=1\n" in script and "--time" not in script
    launch(tmp_path, slurm_gres="gpu:2")
    assert "--gpus-per-node" not in programs.read("script")


@pytest.mark.parametrize(
    ("written", "state", "code", "word"),
    [
        (0, "RUNNING", 0, ""),
        (3, "", 3, ""),
        (-11, "FAILED", -11, ""),
        (None, "TIMEOUT", -15, "timeout_min"),
        (None, "CANCELLED", -15, "scancel"),
        (-9, "OUT_OF_MEMORY", -9, "mem_gb"),
        (None, "FAILED", 1, "--out"),
        (None, "", 1, "--out"),
    ],
)
def test_the_end_of_a_job(
    programs: SlurmPrograms, tmp_path: Path, written: int | None, state: str, code: int, word: str
) -> None:
    programs.set("queue", "7 RUNNING")
    job = launch(tmp_path)
    assert job.poll() is None and has_left_name(tmp_path)
    programs.set("queue", f"7 {state}" if state else "")
    if written is not None:
        write_exit(tmp_path, written)
    (tmp_path / "slurm" / "7_0_log.err").write_text("slurmstepd: error\n")
    job._launch.queue._next = 0.0
    assert job.poll() == code and job.poll() == code
    log = (tmp_path / "log").read_text()
    assert word in log and state in log if word else log == ""
    assert ("slurmstepd: error" in log) == bool(word)
    assert isinstance(job, QueuedProcess) and not job.is_interrupted
    assert not has_left_name(tmp_path)
    left = list((tmp_path / "slurm").iterdir())
    assert bool(left) == bool(code)  # files of failed jobs stay


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_lost_its_node_may_start_again(
    programs: SlurmPrograms, tmp_path: Path, state: str
) -> None:
    programs.set("queue", f"7 {state}")
    job = launch(tmp_path)
    assert job.poll() == -signal.SIGTERM and job.is_interrupted


def test_waiting_in_the_queue_is_no_time_of_the_run(
    programs: SlurmPrograms, tmp_path: Path
) -> None:
    programs.set("queue", "7 PENDING")
    job = launch(tmp_path)
    job._begin -= 100.0
    assert job.poll() is None and job.is_waiting
    assert job.seconds_in_queue == pytest.approx(100, abs=5)
    write_exit(tmp_path, 0, 60.0)  # it ran between two looks
    assert job.poll() == 0 and job.versions == {"device": "GPU"}
    assert job.seconds_in_queue == pytest.approx(40, abs=5)


def test_a_cancelled_job_has_ended_when_slurm_says_so(
    programs: SlurmPrograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.set("queue", "7 RUNNING")
    job = launch(tmp_path)
    programs.replace("scancel", 'echo "$@" >> "$FOLDER/cancelled"')
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        job.send_signal(number)
    assert programs.read("cancelled") == "7\n" and job.poll() is None
    job._next_cancel = 0.0  # some time later
    job.send_signal(signal.SIGKILL)
    assert programs.read("cancelled") == "7\n7\n"
    monkeypatch.setattr(slurm_module, "CANCEL_SECONDS", 0.0)
    assert job.poll() == -signal.SIGTERM  # it is left to the next start
    assert has_left_name(tmp_path) and (tmp_path / "log").read_text() == ""
    programs.set("queue", "7 CANCELLED")
    assert cancel_left_jobs(tmp_path) == 0 and not has_left_name(tmp_path)


def test_jobs_of_a_killed_command_are_cancelled_or_reported(
    programs: SlurmPrograms, tmp_path: Path
) -> None:
    assert cancel_left_jobs(tmp_path) == 0
    launch(tmp_path)
    programs.set("queue", "7 RUNNING")
    assert cancel_left_jobs(tmp_path) == 1 and not has_left_name(tmp_path)
    launch(tmp_path)
    programs.replace("squeue", "exit 1")
    with pytest.raises(ICKDError, match="scancel -n mmickd-"):
        cancel_left_jobs(tmp_path)
    assert has_left_name(tmp_path)


def test_a_refused_job_shows_the_message_of_sbatch(programs: SlurmPrograms, tmp_path: Path) -> None:
    programs.replace("sbatch", "echo sbatch: error: Invalid account >&2; exit 1")
    with pytest.raises(ICKDError, match="Invalid account"):
        launch(tmp_path)
    assert not has_left_name(tmp_path)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"colour": "red"}, "cpus_per_task"), ({"slurm_partition": "b"}, "slurm_partition")],
)
def test_wrong_options_are_refused(
    programs: SlurmPrograms, tmp_path: Path, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(ICKDError, match=word):
        launch(tmp_path, **options)
