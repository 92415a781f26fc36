"""`mmickd tune`: real trials, killed and resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import sys
from pathlib import Path

import pytest

from mmickd.commands.arguments import load_run_config
from mmickd.commands.train import parse_args as parse_train_args
from mmickd.commands.tune import main, parse_args
from tests.helpers.commands import command
from tests.helpers.forkserver import become_python, start_method
from tests.helpers.jobs import wait_until
from tests.helpers.tiny import classifier_config, make_class_folders, save_teacher, with_hook

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "tune.py"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    data = make_class_folders(tmp_path / "data", per_class=4)
    teacher = classifier_config(data, tmp_path / "unused", width=16)
    student = classifier_config(data, tmp_path / "unused", iters=2)
    checkpoint = save_teacher(teacher, tmp_path / "teacher.pth")
    losses = dict(nicd=dict(num_negatives=4), picd=dict(num_positives=2))
    bank = dict(cache_dir=str(tmp_path / "banks"))
    cfg = with_hook(student, teacher, checkpoint, losses=losses, bank=bank)
    cfg.dump(tmp_path / "ickd.py")
    return tmp_path / "ickd.py"


@pytest.mark.slow
def test_after_a_kill_no_trial_runs_again(config: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out, copy = tmp_path / "out", tmp_path / "copy.json"
    words = [str(TOOL), str(config), "--trials", "2", "--workers", "1", "--out", str(out)]
    words += ["--json", str(copy)]
    context = multiprocessing.get_context(start_method())
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = context.Process(target=become_python, args=(words, tmp_path / "log", env))
    process.start()
    stamps = lambda: sorted(out.glob("trials/*/done.json"))  # noqa: E731
    wait_until(lambda: bool(stamps()) or not process.is_alive(), "a trial was done")
    process.kill()
    process.join()
    before = {stamp: stamp.stat().st_mtime_ns for stamp in stamps()}
    assert 1 <= len(before) < 4, (tmp_path / "log").read_text()

    output = command(sys.executable, *words).ok()
    assert output.count("skipped") + output.count("started") == 4
    assert len(stamps()) == 4
    assert all(stamp.stat().st_mtime_ns == time for stamp, time in before.items())
    results = json.loads(copy.read_text())
    assert [(row["name"], row["trials"]) for row in results["rows"]] == [
        ("kd + picd + nicd", 2), ("kd alone", 2)
    ]  # fmt: skip
    assert len([*(tmp_path / "banks").glob("*/*.safetensors")]) <= 1  # one bank for all
    lines = [line for line in output.splitlines() if line.startswith("mmickd train ")]
    assert lines == [row["command"] for row in results["rows"]]
    assert all(line in (out / "results.md").read_text() for line in lines)
    for line, row in zip(lines, results["rows"], strict=True):  # as a user pastes them
        cfg = load_run_config(parse_train_args(shlex.split(line)[2:]))
        losses = cfg.custom_hooks[0].losses
        for name, option in zip(row["searched"], row["options"], strict=True):
            term, key = name.split(".")
            assert losses[term][key] == float(option.partition("=")[2])
        assert (losses["picd"] is None) == (row["name"] == "kd alone")


def test_wrong_input_is_an_error_before_anything_runs(config: Path, tmp_path, capsys) -> None:
    pytest.importorskip("optuna")
    words = ["--trials", "1", "--out", str(tmp_path / "out")]
    assert main([str(config), *words, "--vary", "kt.weight=1:2"]) == 1
    assert "error: --vary kt.weight=1:2" in capsys.readouterr().err
    assert main([str(tmp_path / "none.py"), *words]) == 1
    assert "none.py'" in capsys.readouterr().err
    assert main([str(config), *words, "--cfg-options", "a"]) == 1
    assert "'a'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_message_has_the_command_that_installs_it(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["configs/demo/digits_ickd.py", "--trials", "1"]) == 1
    assert "mmickd[tune]" in capsys.readouterr().err


def test_the_default_folder_is_named_after_the_config() -> None:
    args = parse_args(["configs/demo/digits_ickd.py", "--trials", "5"])
    assert args.out == Path("work_dirs/digits_ickd_tune").resolve()
    assert (args.seeds, args.trials) == (1, 5)
