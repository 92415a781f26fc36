"""Other hooks of a run: lost ones, a second one of ours, and when the log is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook, Hook, LoggerHook

from mmickd.diagnostics.finding import Finding
from mmickd.hooks import ICKDHook
from mmickd.hooks.other_hooks import is_log_due, lost_hook_findings, refuse_several
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.bad_input import assert_stops
from tests.helpers.tiny import run

OURS = "dict(type='mmickd.ICKDHook', teacher=dict(type='SelfTeacher'))"
READ = "from mmengine.config import read_base\nwith read_base():\n    from .{} import *\n"
FILES = {
    "stock.py": "custom_hooks = [dict(type='EMAHook'), dict(type='mmpretrain.SwitchRecipeHook')]",
    "stock_lazy.py": "from mmengine.hooks import EMAHook\ncustom_hooks = [dict(type=EMAHook)]",
    "plain.py": "default_scope = 'mmpretrain'",
    "replaced.py": f"_base_ = ['plain.py', './stock.py']\ncustom_hooks = [{OURS}]",
    "kept.py": f"_base_ = './stock.py'\ncustom_hooks = [*_base_.custom_hooks, {OURS}]",
    "replaced_lazy.py": f"{READ.format('stock_lazy')}custom_hooks = [{OURS}]",
    "kept_lazy.py": f"{READ.format('stock_lazy')}custom_hooks = [*custom_hooks, {OURS}]",
    "heir.py": "_base_ = './replaced.py'\nseed = 3",
    "no_base.py": f"custom_hooks = [{OURS}]",
    "of_package.py": (
        f"_base_ = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'\ncustom_hooks = [{OURS}]"
    ),
    "ema_of_package.py": (
        f"_base_ = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'\ncustom_hooks = [{OURS}]"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("configs")
    for name, text in FILES.items():
        (root / name).write_text(text + "\n")
    return root


def lost(folder: Path, name: str, *hooks: Hook) -> list[Finding]:
    return list(lost_hook_findings([ours(), *hooks], str(folder / name), ICKDHook))


def ours() -> ICKDHook:
    return ICKDHook(teacher=dict(type="SelfTeacher"))


@pytest.mark.parametrize(
    ("name", "inherited"),
    [
        ("replaced.py", "_base_.custom_hooks"),
        ("heir.py", "_base_.custom_hooks"),
        ("replaced_lazy.py", "custom_hooks"),
        ("ema_of_package.py", "_base_.custom_hooks"),
        ("stock.py", "_base_.custom_hooks"),  # our entry is of --cfg-options
    ],
)
def test_lost_hooks_of_a_base_are_named(folder: Path, name: str, inherited: str) -> None:
    (finding,) = lost(folder, name)
    assert finding.code == "lost_hooks" and finding.text.startswith("EMAHook")
    assert f"custom_hooks = [*{inherited}, dict(type='mmickd.ICKDHook', ...)]" in finding.text
    assert ("SwitchRecipeHook" in finding.text) is (name in ("replaced.py", "heir.py", "stock.py"))


@pytest.mark.parametrize("name", ["no_base.py", "of_package.py", "plain.py", "not_there.py"])
def test_no_finding_if_no_hook_is_lost(folder: Path, name: str) -> None:
    assert lost(folder, name) == []


@pytest.mark.parametrize("name", ["kept.py", "kept_lazy.py"])
def test_the_appending_form_keeps_them(folder: Path, name: str) -> None:
    kept = Config.fromfile(folder / name).custom_hooks
    assert len(kept) == (3 if name == "kept.py" else 2)
    recipe = type("SwitchRecipeHook", (Hook,), {})
    assert lost(folder, name, EMAHook(), recipe()) == []


def test_a_run_warns(folder: Path) -> None:
    cfg = toys.classifier().distilled(losses=toys.KD_ONLY)
    object.__setattr__(cfg, "_filename", str(folder / "replaced.py"))
    assert "EMAHook, SwitchRecipeHook of" in toys.log_of(run(cfg))


def test_two_entries_are_refused_before_anything_is_built() -> None:
    cfg = toys.classifier().distilled()
    cfg.custom_hooks = [*cfg.custom_hooks, *cfg.custom_hooks]
    assert_stops(cfg, "2 entries of ICKDHook", "not supported", "OnlineTeacher")
    refuse_several([ours(), EMAHook()], ICKDHook)
    with pytest.raises(ICKDError):
        refuse_several([ours(), EMAHook(), ours()], ICKDHook)


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ([LoggerHook(interval=3)], [2, 5, 8, 9]),
        ([LoggerHook(interval=50), CheckpointHook(interval=4, by_epoch=False)], [3, 7, 9]),
        ([CheckpointHook(interval=2, by_epoch=False, save_begin=5)], [4, 6, 8, 9]),
        ([CheckpointHook(interval=1, by_epoch=True)], [9]),
        ([], [9]),
    ],
)
def test_when_the_log_is_due(hooks: list[Hook], expected: list[int]) -> None:
    def due(iteration: int) -> bool:
        runner: Any = SimpleNamespace(hooks=hooks, iter=iteration, max_iters=10)
        return is_log_due(runner, iteration)

    assert [iteration for iteration in range(10) if due(iteration)] == expected
