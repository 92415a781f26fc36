"""Other hooks of a run: those that our entry put out of the list, a second one of ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook, Hook, LoggerHook

from mmickd.hooks import ICKDHook
from mmickd.hooks.other_hooks import is_read_now, refuse_several, warn_of_lost_hooks
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.bad_input import assert_stops
from tests.helpers.logs import Heard
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


def warned(folder: Path, name: str, heard: Heard, *hooks: Hook) -> list[str]:
    warn_of_lost_hooks([ours(), *hooks], str(folder / name), ICKDHook)
    return heard.warnings()


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
def test_hooks_of_a_base_that_are_gone_are_named(
    folder: Path, name: str, inherited: str, heard: Heard
) -> None:
    (said,) = warned(folder, name, heard)
    assert said.startswith("EMAHook") and "will not run" in said
    assert f"custom_hooks = [*{inherited}, dict(type='mmickd.ICKDHook', ...)]" in said
    assert ("SwitchRecipeHook" in said) is (name in ("replaced.py", "heir.py", "stock.py"))


@pytest.mark.parametrize("name", ["no_base.py", "of_package.py", "plain.py", "not_there.py"])
def test_where_none_is_gone_nothing_is_said(folder: Path, name: str, heard: Heard) -> None:
    assert warned(folder, name, heard) == []


@pytest.mark.parametrize("name", ["kept.py", "kept_lazy.py"])
def test_the_appending_form_keeps_them(folder: Path, name: str, heard: Heard) -> None:
    kept = Config.fromfile(folder / name).custom_hooks
    assert len(kept) == (3 if name == "kept.py" else 2)
    recipe = type("SwitchRecipeHook", (Hook,), {})
    assert warned(folder, name, heard, EMAHook(), recipe()) == []


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
    ("hooks", "read"),
    [
        ([LoggerHook(interval=3)], [2, 5, 8, 9]),
        ([LoggerHook(interval=50), CheckpointHook(interval=4, by_epoch=False)], [3, 7, 9]),
        ([CheckpointHook(interval=2, by_epoch=False, save_begin=5)], [4, 6, 8, 9]),
        ([CheckpointHook(interval=1, by_epoch=True)], [9]),
        ([], [9]),
    ],
)
def test_when_a_run_is_read(hooks: list[Hook], read: list[int]) -> None:
    def due(iteration: int) -> bool:
        runner: Any = SimpleNamespace(hooks=hooks, iter=iteration, max_iters=10)
        return is_read_now(runner, iteration)

    assert [iteration for iteration in range(10) if due(iteration)] == read
