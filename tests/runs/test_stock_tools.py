"""The stock tools of mmpretrain and mmseg with the hook in a copy of a config."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.helpers import toys
from tests.helpers.commands import (
    CommandResult,
    blocked_mmickd,
    command,
    config_folder,
    logged_losses,
    stock_tool,
)

HOOK = """
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(cfg='teacher.py', checkpoint='teacher.pth'),
        bank=dict(cache_dir='banks'){more})
]
"""
OFF = ",\n        losses=dict(kd={0}, picd={0}, nicd={0})".format("dict(loss_weight=0)")


@dataclass(frozen=True)
class StockRuns:
    """Results of the stock tools in ``folder``."""

    scope: str
    folder: Path
    plain: CommandResult
    distilled: CommandResult
    off: CommandResult
    tested: CommandResult


@pytest.fixture(scope="module", params=toys.SCOPES)
def runs(request: pytest.FixtureRequest) -> StockRuns:
    scope = request.param
    toy = toys.toy(scope)
    # mmpretrain's tool would switch persistent workers on, which need workers
    loaders = {f"{s}_dataloader__persistent_workers": False for s in ("train", "val", "test")}
    folder = config_folder(toy, plain=toy.student(**loaders))
    plain = (folder / "plain.py").read_text()
    (folder / "distilled.py").write_text(plain + HOOK.format(more=""))
    (folder / "off.py").write_text(plain + HOOK.format(more=OFF))

    def train(name: str) -> CommandResult:
        tool = stock_tool(scope, "train")
        return command(sys.executable, tool, f"{name}.py", "--work-dir", f"out_{name}", cwd=folder)

    results = [train(name) for name in ("plain", "distilled", "off")]
    return StockRuns(scope, folder, *results, tested=stock_test(scope, folder, "plain.py"))


def stock_test(scope: str, folder: Path, config: str, *words: str) -> CommandResult:
    """Test the distilled checkpoint with the stock tool; mmickd cannot be imported there."""
    tool, checkpoint = stock_tool(scope, "test"), "out_distilled/iter_3.pth"
    return command(
        sys.executable, tool, config, checkpoint, "--work-dir", "out_test", *words,
        cwd=folder, **blocked_mmickd(folder / "blocked"),
    )  # fmt: skip


def test_the_hook_needs_few_lines() -> None:
    assert len(HOOK.format(more=OFF).strip().splitlines()) <= 15


def test_the_stock_train_tool_distils(runs: StockRuns) -> None:
    runs.distilled.ok()
    logged = logged_losses(runs.folder / "out_distilled")
    assert len(logged) == 3
    for line in logged:
        parts = [v for k, v in line.items() if "loss" in k and k != "loss"]
        assert {"loss_kd", "loss_picd", "loss_nicd"} <= line.keys()
        assert line["loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_mmickd_cannot_be_imported_where_the_checkpoint_is_tested(runs: StockRuns) -> None:
    env = blocked_mmickd(runs.folder / "blocked")
    code = "import mmengine; print('mmengine is there'); import mmickd"
    result = command(sys.executable, "-c", code, cwd=runs.folder, **env)
    assert result.code != 0
    assert "mmengine is there" in result.text
    assert "No module named 'mmickd'" in result.text


def test_the_stock_test_tool_loads_every_key(runs: StockRuns) -> None:
    text = runs.tested.ok()
    assert "Load checkpoint from" in text or "Loads checkpoint" in text
    for word in ("missing key", "unexpected key", "do not match", "size mismatch"):
        assert word not in text
    metric = "accuracy/top1" if runs.scope == "mmpretrain" else "mIoU"
    assert re.search(rf"{metric}: +\d+\.\d+", text)


def test_the_stock_test_tool_reads_the_config_with_an_empty_list_of_hooks(runs: StockRuns) -> None:
    if runs.scope == "mmpretrain":
        pytest.skip("mmengine's --cfg-options are the same for both")
    metric = re.search(r"mIoU: +\d+\.\d+", runs.tested.ok())
    result = stock_test(runs.scope, runs.folder, "distilled.py", "--cfg-options", "custom_hooks=[]")
    assert metric and metric[0] in result.ok()


def test_an_unexpected_key_would_be_reported(runs: StockRuns) -> None:
    # test_the_stock_test_tool_loads_every_key can fail
    if runs.scope == "mmseg":
        pytest.skip("mmengine's loader is the same for both")
    checkpoint = torch.load(runs.folder / "out_distilled/iter_3.pth", weights_only=False)
    checkpoint["state_dict"]["teacher.weight"] = torch.ones(1)
    torch.save(checkpoint, runs.folder / "changed.pth")
    tool = stock_tool(runs.scope, "test")
    tested = command(
        sys.executable,
        tool,
        "plain.py",
        "changed.pth",
        "--work-dir",
        "out_changed",
        cwd=runs.folder,
    )
    assert "unexpected key" in tested.text


def test_weight_zero_is_the_stock_run_bit_for_bit(runs: StockRuns) -> None:
    runs.plain.ok()
    runs.off.ok()
    off, plain, distilled = (
        torch.load(runs.folder / f"out_{name}/iter_3.pth", weights_only=False)
        for name in ("off", "plain", "distilled")
    )
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(off[part], plain[part])
    totals = [
        [line["loss"] for line in logged_losses(runs.folder / f"out_{name}")]
        for name in ("off", "plain")
    ]
    assert totals[0] == totals[1]
    assert not toys.same_state(off["state_dict"], distilled["state_dict"])
