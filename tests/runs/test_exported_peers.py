"""Exported peers under the test tools of mmpretrain and mmseg, and under ours."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.commands import ROOT, blocked_mmickd, command, stock_tool
from tests.helpers.learning_runs import online_config
from tests.helpers.tiny import dump, run

METRICS = dict(mmpretrain="accuracy/top1", mmseg="mIoU")


@pytest.mark.parametrize(
    ("scope", "tools"), [("mmpretrain", ["stock"]), ("mmseg", ["stock", "ours"])]
)
def test_the_tools_report_the_metric_of_validation(scope: str, tools: list[str]) -> None:
    folder, metric = toys.new_folder(), METRICS[scope]
    models = {"wider.py": toys.toy(scope).teacher_cfg, "plain.py": toys.toy(scope).student()}
    for name, model in models.items():
        dump(model, folder / name)
    level = "image" if scope == "mmpretrain" else ["pixel", "region"]
    cfg = online_config(scope, level, 12, cfg=[str(folder / "wider.py"), None], validate=True)
    runner = run(cfg)

    for number, (name, owner) in enumerate(zip(models, tools, strict=False)):
        exported = export(runner, folder, number)
        stock = owner == "stock"
        tool = stock_tool(scope, "test") if stock else ROOT / "tools/test.py"
        env = blocked_mmickd(folder / "blocked") if stock else {}
        words = (sys.executable, tool, name, exported, "--work-dir", "tested")
        tested = command(*words, cwd=folder, **env).ok()
        for fault in ("missing key", "unexpected key", "do not match", "size mismatch"):
            assert fault not in tested
        value = re.search(rf"{metric}: +(\d+\.\d+)", tested)
        expected = runner.message_hub.get_scalar(f"val/peer{number}.{metric}").current()
        assert value and float(value[1]) == pytest.approx(expected, abs=0.01)


def export(runner: Runner, folder: Path, number: int) -> Path:
    last = (Path(runner.work_dir) / "last_checkpoint").read_text()
    tool, out = ROOT / "tools/export_peer.py", folder / f"peer{number}.pth"
    command(sys.executable, tool, last, out, "--peer", str(number)).ok()
    return out
