"""The configs of docs/recipes/*.md train a student with the terms that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS

from mmickd.hooks import ICKDHook
from mmickd.hooks.entries import hook_entry
from tests.helpers import toys
from tests.helpers.commands import ROOT
from tests.helpers.tiny import (
    classifier_config,
    dump,
    history,
    run,
    save_teacher,
    segmenter_config,
)

PAGES = [path for path in sorted((ROOT / "docs/recipes").glob("*.md")) if path.stem != "index"]
BLOCKS = {
    f"{path.stem}-{number}": block
    for path in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
}
"""Python blocks by page and number; those of index.md: tests/configs/test_recipes.py."""
CASES = [("mmseg" if name.startswith("segmenter-") else "mmpretrain", name) for name in BLOCKS]
"""Scope of the student, and block."""
NEEDS_A_GPU = ["mixed-precision-0"]


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """Folder with configs and weights of a student and a teacher of a scope."""
    toy, root = toys.toy(request.param), toys.new_folder()
    make = classifier_config if request.param == "mmpretrain" else segmenter_config
    # by epochs, since weights of some pages grow over epochs
    student = make(toy.data, root / "run", iters=3, epochs=True)
    dump(student, root / "student.py")
    dump(toy.teacher_cfg, root / "teacher.py")
    (root / "teacher.pth").symlink_to(toy.checkpoint)
    save_teacher(student, root / "earlier.pth")
    return root


def config_of(block: str, root: Path) -> Config:
    """Return the config of a block, with paths of the folder."""
    paths = {
        "path/to/the/students_config.py": "student.py",
        "path/to/the/teachers_config.py": root / "teacher.py",
        "path/or/url/of/its/weights.pth": root / "teacher.pth",
        "path/of/an/earlier/run.pth": root / "earlier.pth",
        "warmup=60": "warmup=1",
        "warmup=240": "warmup=3",
    }
    for text, path in paths.items():
        block = block.replace(text, str(path))
    file = root / "run.py"
    file.write_text(block)
    return Config.fromfile(file)


def weights(losses: Any) -> dict[str, Any]:
    return {name: term for name, term in (losses or {}).items() if term is not None}


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name"), CASES, indirect=["folder"])
def test_a_config_of_a_page_trains(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(folder / "cache"))
    cfg = config_of(BLOCKS[name], folder)
    assert [hook.type for hook in cfg.custom_hooks] == ["mmickd.ICKDHook"]
    losses = weights(hook_entry(cfg).get("losses"))
    assert isinstance(HOOKS.build(cfg.custom_hooks[0]), ICKDHook)
    if name in NEEDS_A_GPU:
        return
    runner = run(cfg)
    for term in losses.keys() - {"task"}:
        assert max(history(runner, f"loss_{term}")) > 0, term


def test_there_are_configs_on_the_pages() -> None:
    assert {name.rpartition("-")[0] for name in BLOCKS} == {
        path.stem for path in PAGES if path.stem != "many-gpus"
    }
