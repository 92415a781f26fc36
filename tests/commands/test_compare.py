"""`tools/compare.py`: one teacher, several students, paired seeds, one table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny import classifier_config, make_class_folders, with_hook

ROOT = Path(__file__).resolve().parents[2]


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "compare.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of tiny configs, as a file."""
    root = tmp_path_factory.mktemp("compare")
    data = make_class_folders(root / "data")
    teacher = classifier_config(data, root / "unused", width=16, iters=2)
    student = classifier_config(data, root / "unused", iters=2)
    for cfg in (teacher, student):
        cfg.train_cfg.val_interval = 2
    teacher.dump(root / "teacher.py")
    student.dump(root / "student.py")
    hooked = with_hook(student, str(root / "teacher.py"), root / "to_be_replaced.pth")
    hooked.dump(root / "ickd.py")
    hooked.custom_hooks[0].losses = dict(picd=None, nicd=None)
    hooked.dump(root / "kd.py")
    entry = {name: {"config": str(root / f"{name}.py")} for name in ("student", "kd", "ickd")}
    description = {
        "title": "toy",
        "metric": "accuracy/top1",
        "teacher": {"config": str(root / "teacher.py")},
        "students": {
            "task loss": entry["student"],
            "KD": entry["kd"],
            "IC-KD": {**entry["ickd"], "options": ["custom_hooks.0.losses.kd.loss_weight=2.0"]},
        },
    }
    file = root / "toy.json"
    file.write_text(json.dumps(description))
    return file


@pytest.mark.slow
def test_trains_all_and_prints_one_table(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = compare(str(plan), "--seeds", "1", "--out", str(out))
    assert first.returncode == 0, first.stdout + first.stderr
    rows = {row["name"]: row for row in json.loads((out / "results.json").read_text())}
    assert list(rows) == ["teacher", "task loss", "KD", "IC-KD"]
    assert rows["KD"]["to_kd"] is None
    difference = rows["IC-KD"]["score"]["mean"] - rows["KD"]["score"]["mean"]
    assert rows["IC-KD"]["to_kd"]["mean"] == pytest.approx(difference)
    assert (out / "results.md").read_text().strip() in first.stdout
    dumped = next((out / "ic_kd_seed0").glob("*.py")).read_text()
    assert "loss_weight=2.0" in dumped and str(out / "teacher" / "iter_2.pth") in dumped

    again = compare(str(plan), "--seeds", "1", "--out", str(out))
    assert again.returncode == 0 and again.stdout.count("skipped") == 4


def test_a_wrong_description_says_which_key(plan: Path, tmp_path: Path) -> None:
    description = json.loads(plan.read_text())
    description["studnets"] = description.pop("students")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(description))
    done = compare(str(wrong), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "students, studnets" in done.stderr and "Traceback" not in done.stderr
