"""The hook in a copy of a config, under the tools of mmpretrain and mmseg themselves."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.helpers import toys
from tests.helpers.commands import CommandResult, blocked_mmickd, command, stock_tool
from tests.helpers.tiny import plain_config_text

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
    """Outputs of the stock tools in ``folder``."""

    scope: str
    folder: Path
    plain: CommandResult
    distilled: CommandResult
    off: CommandResult
    tested: CommandResult


def losses(folder: Path) -> list[dict[str, float]]:
    (path,) = folder.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.fixture(scope="module", params=toys.SCOPES)
def runs(request: pytest.FixtureRequest) -> StockRuns:
    scope = request.param
    toy, folder = toys.toy(scope), toys.new_folder()
    with plain_config_text():
        # mmpretrain's tool would switch persistent workers on, for none of them
        loaders = {f"{s}_dataloader__persistent_workers": False for s in ("train", "val", "test")}
        toy.student(**loaders).dump(folder / "plain.py")
        toy.teacher_cfg.dump(folder / "teacher.py")
    (folder / "teacher.pth").symlink_to(toy.checkpoint)
    plain = (folder / "plain.py").read_text()
    (folder / "distilled.py").write_text(plain + HOOK.format(more=""))
    (folder / "off.py").write_text(plain + HOOK.format(more=OFF))

    def train(name: str) -> CommandResult:
        tool = stock_tool(scope, "train")
        return command(sys.executable, tool, f"{name}.py", "--work-dir", f"out_{name}", cwd=folder)

    trained = [train(name) for name in ("plain", "distilled", "off")]
    return StockRuns(scope, folder, *trained, tested=stock_test(scope, folder, "plain.py"))


def stock_test(scope: str, folder: Path, config: str, *words: str) -> CommandResult:
    """The distilled checkpoint under the stock tool, where mmickd cannot be imported."""
    tool, checkpoint = stock_tool(scope, "test"), "out_distilled/iter_3.pth"
    return command(
        sys.executable, tool, config, checkpoint, "--work-dir", "out_test", *words,
        cwd=folder, **blocked_mmickd(folder / "blocked"),
    )  # fmt: skip


def test_added_lines_are_few() -> None:
    assert len(HOOK.format(more=OFF).strip().splitlines()) <= 15


def test_stock_train_distils(runs: StockRuns) -> None:
    runs.distilled.ok()
    logged = losses(runs.folder / "out_distilled")
    assert len(logged) == 3
    for line in logged:
        parts = [v for k, v in line.items() if "loss" in k and k != "loss"]
        assert {"loss_kd", "loss_picd", "loss_nicd"} <= line.keys()
        assert line["loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_mmickd_cannot_be_imported_where_the_checkpoint_is_tested(runs: StockRuns) -> None:
    env = blocked_mmickd(runs.folder / "blocked")
    code = "import mmengine; print('this far'); import mmickd"
    tried = command(sys.executable, "-c", code, cwd=runs.folder, **env)
    assert tried.code != 0
    assert "this far" in tried.text
    assert "No module named 'mmickd'" in tried.text


def test_stock_test_loads_the_checkpoint_completely(runs: StockRuns) -> None:
    text = runs.tested.ok()
    assert "Load checkpoint from" in text or "Loads checkpoint" in text
    for word in ("missing key", "unexpected key", "do not match", "size mismatch"):
        assert word not in text
    metric = "accuracy/top1" if runs.scope == "mmpretrain" else "mIoU"
    assert re.search(rf"{metric}: +\d+\.\d+", text)


def test_stock_test_reads_the_config_with_the_hook_once_its_list_is_empty(runs: StockRuns) -> None:
    if runs.scope == "mmpretrain":
        pytest.skip("mmengine's --cfg-options are the same for both")
    wanted = re.search(r"mIoU: +\d+\.\d+", runs.tested.ok())
    ended = stock_test(runs.scope, runs.folder, "distilled.py", "--cfg-options", "custom_hooks=[]")
    assert wanted and wanted[0] in ended.ok()


def test_a_key_too_many_would_be_seen(runs: StockRuns) -> None:
    # guards the test above
    if runs.scope == "mmseg":
        pytest.skip("mmengine's loader is the same for both")
    checkpoint = torch.load(runs.folder / "out_distilled/iter_3.pth", weights_only=False)
    checkpoint["state_dict"]["teacher.weight"] = torch.ones(1)
    torch.save(checkpoint, runs.folder / "spoilt.pth")
    tool = stock_tool(runs.scope, "test")
    tested = command(
        sys.executable, tool, "plain.py", "spoilt.pth", "--work-dir", "out_spoilt", cwd=runs.folder
    )
    assert "unexpected key" in tested.text


def test_weight_zero_is_the_stock_run_bit_for_bit(runs: StockRuns) -> None:
    runs.plain.ok()
    runs.off.ok()
    found, wanted = (
        torch.load(runs.folder / f"out_{name}/iter_3.pth", weights_only=False)
        for name in ("off", "plain")
    )
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(dict(found[part]), dict(wanted[part]))
    totals = [[line["loss"] for line in losses(runs.folder / f"out_{n}")] for n in ("off", "plain")]
    assert totals[0] == totals[1]
    assert not toys.same_state(
        dict(found["state_dict"]),
        dict(
            torch.load(runs.folder / "out_distilled/iter_3.pth", weights_only=False)["state_dict"]
        ),
    )
