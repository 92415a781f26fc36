"""``tools/train.py`` and ``tools/test.py`` as a user calls them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command, config_folder, logged_losses
from tests.helpers.logs import BUILDS, READS
from tests.helpers.tiny import history, run

DOUBLE_KD = "custom_hooks.0.losses.kd.loss_weight=2.0"


def make_folder(scope: str) -> Path:
    """Return a folder with ``run.py`` and its files, with paths relative to the folder."""
    toy = toys.toy(scope)
    cfg = toy.distilled(bank=dict(cache_dir="banks"), losses=dict(kd=dict(loss_weight=1.0)))
    cfg.custom_hooks[0].teacher = dict(cfg="teacher.py", checkpoint="teacher.pth")
    cfg.work_dir = "out"
    return config_folder(toy, run=cfg)


def tool(name: str, folder: Path, *words: str) -> CommandResult:
    return command(sys.executable, ROOT / f"tools/{name}.py", "run.py", *words, cwd=folder)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_train_resume_and_test(scope: str) -> None:
    folder = make_folder(scope)
    tool("train", folder, "--cfg-options", "train_cfg.max_iters=2", DOUBLE_KD).ok()
    first = logged_losses(folder / "out")
    assert len(first) == 2
    reference = run(toys.toy(scope).distilled())
    for term, factor in (("loss_kd", 2), ("loss_nicd", 1)):
        expected = factor * history(reference, term)[0]
        assert first[0][term] == pytest.approx(expected, rel=1e-5)

    resumed = tool("train", folder, "--resume").ok()
    assert f"{READS}banks/" in resumed and BUILDS not in resumed
    (third,) = logged_losses(folder / "out")
    assert third["step"] == 3
    checkpoint = torch.load(folder / "out/iter_3.pth", weights_only=False)
    assert checkpoint["meta"]["iter"] == 3

    tested = tool("test", folder, "out/iter_3.pth").ok()
    assert re.search(r"(accuracy/top1|mIoU): +\d+\.\d+", tested)
    for word in ("missing key", "unexpected key"):
        assert word not in tested


@pytest.mark.skipif(torch.cuda.is_available(), reason="mixed precision works with a GPU")
def test_mixed_precision_without_a_gpu_is_refused() -> None:
    folder = make_folder("mmpretrain")
    result = tool("train", folder, "--amp", "--work-dir", "amp")
    assert result.code == 2
    assert "--amp" in result.text and "GPU" in result.text
    assert "Traceback" not in result.text


def test_bad_option_is_a_message_and_code_2() -> None:
    folder = make_folder("mmpretrain")
    result = tool(
        "train", folder, "--work-dir", "bad", "--cfg-options", "custom_hooks.0.losses.kd.weight=2.0"
    )
    assert result.code == 2
    assert "losses.kd" in result.text and "'loss_weight'" in result.text
    assert "Traceback" not in result.text
    assert not list(folder.glob("bad/*.pth"))
