"""`mmickd compare` and `tune` with ``--slurm``, and ``tools/slurm_*.sh``, on a real Slurm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.slurm import slurm_launch
from mmickd.utils.errors import ICKDError
from tests.helpers.commands import ROOT, CommandResult, command
from tests.helpers.jobs import is_running, wait_until
from tests.helpers.slurm import OneNodeSlurm, needs_slurm
from tests.helpers.tiny import classifier_config, make_class_folders, save_teacher, with_hook

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600), needs_slurm]


@pytest.fixture(scope="module")
def slurm() -> Iterator[OneNodeSlurm]:
    """Running Slurm of one node; its programs use it by the environment."""
    pytest.importorskip("submitit")
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    node = OneNodeSlurm(root)
    try:
        node.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, text in node.env.items():
                patch.setenv(name, text)
            yield node
    finally:
        node.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def an_empty_queue(slurm: OneNodeSlurm) -> Iterator[None]:
    """Check that no job is left after a test."""
    yield
    wait_until(lambda: not slurm.states(), "the queue is empty", 30)


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the configs of a teacher and a student."""
    root = tmp_path_factory.mktemp("configs")
    data = make_class_folders(root / "data", per_class=4)
    for name, width in (("teacher", 16), ("student", 8)):
        cfg = classifier_config(data, root / "unused", width=width, iters=2)
        cfg.train_cfg.val_interval = 2
        cfg.dump(root / f"{name}.py")
    return root


def write_plan(configs: Path, folder: Path, converter: str = "", **description: Any) -> Path:
    """Write a plan with a teacher and a student; ``converter`` is code that runs before them."""
    if converter:
        (folder / "converter.py").write_text(f"from pathlib import Path\n{converter}")
        description["data"] = {"converter": str(folder / "converter.py")}
    plan = {
        "title": "toy",
        "reference": "task loss",
        "metric": "accuracy/top1",
        "teacher": {"config": str(configs / "teacher.py")},
        "students": {"task loss": {"config": str(configs / "student.py")}},
        **description,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder / "plan.json"


def words_of(plan: Path, *words: str) -> list[str]:
    out = ["--out", str(plan.parent / "out"), "--seeds", "1"]
    return [str(ROOT / "tools" / "compare.py"), str(plan), *out, *words]


def compare(plan: Path, *words: str) -> CommandResult:
    return command(sys.executable, *words_of(plan, *words), timeout=280)


def start(plan: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start the command with the default behaviour of Ctrl-C, which a shell may have changed."""
    return subprocess.Popen(
        [sys.executable, *words_of(plan, "--slurm", "debug", *words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def records_of(plan: Path) -> list[dict[str, Any]]:
    lines = (plan.parent / "out" / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_compare_gives_the_same_results_as_on_this_machine(configs: Path, tmp_path: Path) -> None:
    plans = []
    for name, words in (("here", []), ("slurm", ["--slurm", "debug"])):
        (tmp_path / name).mkdir()
        plans.append(write_plan(configs, tmp_path / name))
        text = compare(plans[-1], *words).ok()
    assert text.count("submitted as Slurm job") == 2
    here, there = map(records_of, plans)
    for key in ("name", "last", "best", "curve", "config", "versions"):
        assert [record[key] for record in here] == [record[key] for record in there]
    out = plans[1].parent / "out"
    assert list((out / "slurm").iterdir()) == []


def test_a_failed_run_is_reported_with_the_end_of_its_log(configs: Path, tmp_path: Path) -> None:
    plan = write_plan(configs, tmp_path, "print('the reason'); raise SystemExit(3)")
    done = compare(plan, "--slurm", "debug")
    assert done.code == 1
    assert "code 3" in done.text and "    the reason" in done.text


MARK_AND_SLEEP = """
import os, sys, time
Path(__file__).with_name("pid").write_text(f"{os.getpid()}.")
time.sleep(0 if Path(__file__).with_name("quick").exists() else 300)
"""


def wait_for_pid(plan: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until the converter runs, and return its process id."""
    file = plan.parent / "pid"

    def has_begun() -> bool:
        assert process.poll() is None, process.communicate()[0].decode()
        return file.is_file() and file.read_text().endswith(".")

    wait_until(has_begun, "the first run began")
    return int(file.read_text()[:-1])


def test_ctrl_c_cancels_the_jobs(slurm: OneNodeSlurm, configs: Path, tmp_path: Path) -> None:
    plan = write_plan(configs, tmp_path, MARK_AND_SLEEP)
    with start(plan) as process:
        pid = wait_for_pid(plan, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
    assert slurm.states() == [] and not is_running(pid)


def test_a_run_that_sigterm_stopped_resumes(
    slurm: OneNodeSlurm, configs: Path, tmp_path: Path
) -> None:
    options = ["train_cfg.max_iters=30", "default_hooks.checkpoint.interval=1"]
    plan = write_plan(
        configs, tmp_path, teacher={"config": str(configs / "teacher.py"), "options": options}
    )
    named = tmp_path / "out" / "teacher" / "last_checkpoint"
    with start(plan, "--workers", "1") as process:
        wait_until(lambda: named.is_file() or process.poll() is not None, "a checkpoint")
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 143
    assert slurm.states() == []
    compare(plan, "--slurm", "debug").ok()
    assert [record["parts"] for record in records_of(plan) if record["name"] == "teacher"] == [2]


def test_jobs_that_a_killed_command_left_are_cancelled_by_the_next_start(
    slurm: OneNodeSlurm, configs: Path, tmp_path: Path
) -> None:
    plan = write_plan(configs, tmp_path, MARK_AND_SLEEP)
    with start(plan) as process:
        pid = wait_for_pid(plan, process)
        process.kill()
    assert slurm.states() == ["RUNNING"] and is_running(pid)
    (tmp_path / "quick").touch()
    # without --slurm too, as the job would write into the folder of the new run
    text = compare(plan).ok()
    assert "cancelled 1 Slurm jobs" in text
    assert not is_running(pid) and len(records_of(plan)) == 2


def test_a_cancelled_job_stops_the_command_with_its_state(
    slurm: OneNodeSlurm, configs: Path, tmp_path: Path
) -> None:
    plan = write_plan(configs, tmp_path, f"print('the reason', flush=True){MARK_AND_SLEEP}")
    with start(plan) as process:
        wait_for_pid(plan, process)
        slurm.run("scancel", "-u", "root")
        text = process.communicate(timeout=90)[0].decode()
    assert process.returncode == 1
    assert "code -15" in text and "CANCELLED" in text and "    the reason" in text


def test_a_preempted_job_starts_again(slurm: OneNodeSlurm, configs: Path, tmp_path: Path) -> None:
    plan = write_plan(configs, tmp_path, f"{MARK_AND_SLEEP}\nraise SystemExit(3)")
    with start(plan) as process:
        pid = wait_for_pid(plan, process)
        (tmp_path / "quick").touch()
        slurm.run("sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        text = process.communicate(timeout=120)[0].decode()
    assert "will start again" in text and text.count("submitted as Slurm job") == 2
    assert process.returncode == 1 and "code 3" in text and not is_running(pid)


def test_tune(configs: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    data = configs / "data"
    teacher = classifier_config(data, tmp_path / "unused", width=16)
    student = classifier_config(data, tmp_path / "unused", iters=2)
    checkpoint = save_teacher(teacher, tmp_path / "teacher.pth")
    losses = dict(nicd=dict(num_negatives=4), picd=dict(num_positives=2))
    with_hook(student, teacher, checkpoint, losses=losses).dump(tmp_path / "ickd.py")
    words = ["--trials", "2", "--workers", "2", "--out", str(tmp_path / "out"), "--slurm", "debug"]
    tool = ROOT / "tools" / "tune.py"
    text = command(sys.executable, tool, tmp_path / "ickd.py", *words, timeout=280).ok()
    assert text.count("submitted as Slurm job") == 4
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(row["trials"], row["failed"]) for row in results["rows"]] == [(2, 0), (2, 0)]
    assert (tmp_path / "out" / "study.journal").is_file()


@pytest.mark.parametrize(
    ("partition", "options", "words"),
    [
        ("nowhere", {}, ("nowhere", "debug, urgent")),
        ("debug", {"colour": "red"}, ("colour", "cpus_per_task")),
        ("debug", {"slurm_partition": "urgent"}, ("slurm_partition",)),
    ],
)
def test_wrong_arguments_are_refused(
    slurm: OneNodeSlurm, tmp_path: Path, partition: str, options: dict[str, Any], words: tuple[str]
) -> None:
    with pytest.raises(ICKDError) as caught:
        slurm_launch(tmp_path, partition, options)
    assert all(word in str(caught.value) for word in words)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_job_is_an_error_and_leaves_nothing(slurm: OneNodeSlurm, tmp_path: Path) -> None:
    launch = slurm_launch(tmp_path, "debug", {"gpus_per_node": 4})
    with pytest.raises(ICKDError, match="generic resource"):
        launch(["true"], tmp_path / "log", dict(os.environ))
    assert not (tmp_path / "slurm" / "job_name").exists()


def test_training_and_testing_on_two_processes(configs: Path, tmp_path: Path) -> None:
    layout = dict(GPUS="2", GPUS_PER_NODE="0", CPUS_PER_TASK="1", PYTHONPATH=str(ROOT))
    tool = ROOT / "tools"
    words = ["debug", "name", configs / "student.py"]
    work_dir = ["--work-dir", str(tmp_path)]
    command("bash", tool / "slurm_train.sh", *words, *work_dir, timeout=280, **layout).ok()
    command(
        "bash", tool / "slurm_test.sh", *words, tmp_path / "iter_2.pth", *work_dir,
        timeout=280, **layout,
    ).ok()  # fmt: skip
    (tested,) = tmp_path.glob("2*/2*.json")
    assert "accuracy/top1" in tested.read_text()
