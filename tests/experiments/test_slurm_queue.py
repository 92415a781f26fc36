"""States of Slurm's jobs, with stand-ins for Slurm's programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmickd.experiments import slurm_queue
from mmickd.experiments.slurm_queue import SlurmQueue, check_programs, final_state, has_gpus
from mmickd.utils.errors import ICKDError
from tests.helpers.slurm_programs import SlurmPrograms


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmPrograms:
    return SlurmPrograms(tmp_path / "bin", monkeypatch)


def test_jobs_share_a_query(programs: SlurmPrograms, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.set("queue", "7 RUNNING\n8 PENDING\n")
    queue = SlurmQueue("name")
    assert [queue.state(job) for job in ("7", "8", "9")] == ["RUNNING", "PENDING", ""]
    programs.set("queue", "7 COMPLETED\n")
    assert queue.state("7") == "RUNNING"  # the answer of the query before
    monkeypatch.setattr(slurm_queue, "QUERY_SECONDS", 0.0)
    queue.expect("9")
    assert [queue.state(job) for job in ("7", "8", "9")] == ["COMPLETED", "", ""]


def test_states_hold_while_slurm_does_not_answer(programs: SlurmPrograms) -> None:
    programs.replace("squeue", "exit 1")
    queue = SlurmQueue("name")
    assert queue.state("7") is None
    queue.expect("7")
    assert queue.state("7") == "PENDING"
    with pytest.raises(ICKDError, match="squeue"):
        queue.states()


def test_all_jobs_are_cancelled_that_have_not_ended(
    programs: SlurmPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.set("queue", "6 TIMEOUT\n7 RUNNING\n8 RUNNING\n")
    assert SlurmQueue("name").cancel_all() == 2
    assert programs.read("cancelled") == "7 8\n"
    programs.set("queue", "7 COMPLETING\n")
    monkeypatch.setattr(slurm_queue, "LEFT_SECONDS", 0.0)
    with pytest.raises(ICKDError, match="7"):
        SlurmQueue("name").cancel_all()


def test_a_partition_has_gpus_or_not_or_is_unknown(programs: SlurmPrograms) -> None:
    programs.set("gpus", "(null)\n")
    assert not has_gpus("debug")
    programs.set("gpus", "(null)\ngpu:a100:4(S:0-1)\n")
    assert has_gpus("debug")
    with pytest.raises(ICKDError, match=r"nowhere: .* debug"):
        has_gpus("nowhere")


def test_a_missing_program_is_named(
    programs: SlurmPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_programs()
    (programs.folder / "scancel").unlink()
    monkeypatch.setenv("PATH", str(programs.folder))
    with pytest.raises(ICKDError, match="scancel"):
        check_programs()


def test_accounting_has_the_state_of_old_jobs_if_there_is_any(programs: SlurmPrograms) -> None:
    programs.replace("sacct", "exit 1")
    assert final_state("7") == ""
    programs.replace("sacct", "echo CANCELLED by 1000")
    assert final_state("7") == "CANCELLED"
