"""``tools/train.py`` and ``tools/test.py`` on distilled runs, as a user calls them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command
from tests.helpers.tiny import history, plain_config_text, run

DOUBLE_KD = "custom_hooks.0.losses.kd.loss_weight=2.0"


def make_folder(scope: str) -> Path:
    """A folder with ``run.py`` and what it needs, all of it relative to the folder."""
    toy, folder = toys.toy(scope), toys.new_folder()
    with plain_config_text():
        cfg = toy.distilled(bank=dict(cache_dir="banks"), losses=dict(kd=dict(loss_weight=1.0)))
        cfg.custom_hooks[0].teacher = dict(cfg="teacher.py", checkpoint="teacher.pth")
        cfg.work_dir = "out"
        cfg.dump(folder / "run.py")
        toy.teacher_cfg.dump(folder / "teacher.py")
    (folder / "teacher.pth").symlink_to(toy.checkpoint)
    return folder


def tool(name: str, folder: Path, *words: str) -> CommandResult:
    return command(sys.executable, ROOT / f"tools/{name}.py", "run.py", *words, cwd=folder)


def logged(folder: Path) -> list[dict[str, float]]:
    path = max(folder.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_train_resume_and_test(scope: str) -> None:
    folder = make_folder(scope)
    tool("train", folder, "--cfg-options", "train_cfg.max_iters=2", DOUBLE_KD).ok()
    first = logged(folder / "out")
    assert len(first) == 2
    reference = run(toys.toy(scope).distilled())
    for term, factor in (("loss_kd", 2), ("loss_nicd", 1)):
        wanted = factor * history(reference, term)[0]
        assert first[0][term] == pytest.approx(wanted, rel=1e-5)

    resumed = tool("train", folder, "--resume").ok()
    assert "memory bank from banks/" in resumed
    assert "Building the memory bank" not in resumed
    (third,) = logged(folder / "out")
    assert third["step"] == 3
    saved = torch.load(folder / "out/iter_3.pth", weights_only=False)
    assert saved["meta"]["iter"] == 3

    tested = tool("test", folder, "out/iter_3.pth").ok()
    assert re.search(r"(accuracy/top1|mIoU): +\d+\.\d+", tested)
    for word in ("missing key", "unexpected key"):
        assert word not in tested


@pytest.mark.skipif(torch.cuda.is_available(), reason="mixed precision works with a GPU")
@pytest.mark.slow
def test_mixed_precision_without_a_gpu_is_refused() -> None:
    folder = make_folder("mmpretrain")
    ended = tool("train", folder, "--amp", "--work-dir", "amp")
    assert ended.code == 2
    assert "Mixed precision (--amp" in ended.text
    assert "needs a GPU" in ended.text
    assert "Traceback" not in ended.text


@pytest.mark.slow
def test_bad_option_is_a_message_and_code_2() -> None:
    folder = make_folder("mmpretrain")
    ended = tool(
        "train", folder, "--work-dir", "bad", "--cfg-options", "custom_hooks.0.losses.kd.weight=2.0"
    )
    assert ended.code == 2
    assert "losses.kd has no option 'weight': did you mean 'loss_weight'?" in ended.text
    assert "Traceback" not in ended.text
    assert not list(folder.glob("bad/*.pth"))
