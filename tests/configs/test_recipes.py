"""Every recipe of ``configs/_base_/methods`` trains a tiny student by one line of ``_base_``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmickd.commands.arguments import read_config
from mmickd.hooks.entries import hook_entry
from tests.helpers.tiny import (
    classifier_config,
    dump,
    history,
    make_class_folders,
    make_scenes,
    run,
    save_teacher,
    scalar_names,
    segmenter_config,
)

REPO = Path(__file__).resolve().parents[2]
METHODS = REPO / "configs" / "_base_" / "methods"
RECIPES = sorted(path.stem for path in METHODS.glob("*.py"))
PAGE = (REPO / "docs/recipes/index.md").read_text()
TABLES = "".join(
    path.read_text()
    for folder in ("docs/results", "results", "configs/small")
    for path in sorted((REPO / folder).glob("*.md"))
)
"""Text of the pages with results, and of the tables of single plans."""
TASKS: dict[str, tuple[Callable[..., Path], Callable[..., Config]]] = {
    "image": (make_class_folders, classifier_config),
    "pixel": (make_scenes, segmenter_config),
}
FIGURE = re.compile(r"[-+]?\d+\.\d+ ± \d+\.\d+")


def entry(recipe: str) -> Any:
    """Return the hook's entry of a recipe."""
    return Config.fromfile(METHODS / f"{recipe}.py").custom_hooks[0]


CASES = [
    (recipe, task)
    for recipe in RECIPES
    for task in TASKS
    if entry(recipe).get("level", task) == task
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with data, a student's config, a teacher's config and weights for each task."""
    root = tmp_path_factory.mktemp("recipes")
    for task, (make_data, config) in TASKS.items():
        data = make_data(root / task)
        teacher = config(data, root / "teacher", width=12)
        dump(config(data, root / "run", iters=3, epochs=True), root / f"student_{task}.py")
        dump(teacher, root / f"teacher_{task}.py")
        save_teacher(teacher, root / f"teacher_{task}.pth")
        save_teacher(config(data, root / "run"), root / f"student_{task}.pth")
    return root


def teacher_options(folder: Path, recipe: str, task: str) -> dict[str, str]:
    """Return the ``--cfg-options`` that add a teacher to a recipe."""
    teacher = entry(recipe).get("teacher", {})
    if recipe.endswith("_growing"):
        options = {"type": "SelfTeacher"}
    elif teacher.get("mode") == "checkpoint":
        options = {"checkpoint": str(folder / f"student_{task}.pth")}
    elif "type" in teacher:
        options = {}
    else:
        options = {
            "cfg": str(folder / f"teacher_{task}.py"),
            "checkpoint": str(folder / f"teacher_{task}.pth"),
        }
    return {f"custom_hooks.0.teacher.{key}": value for key, value in options.items()}


def has_weight(options: Any) -> bool:
    return options.get("loss_weight") != 0


@pytest.mark.parametrize(("recipe", "task"), CASES)
def test_a_recipe_trains_a_student_and_logs_its_terms_alone(
    recipe: str, task: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(folder / "cache"))
    file = folder / f"{recipe}_{task}.py"
    file.write_text(f"_base_ = ['student_{task}.py', '{METHODS / recipe}.py']\n")
    runner = run(read_config(str(file), teacher_options(folder, recipe, task)))

    terms = {name: term for name, term in entry(recipe).losses.items() if term is not None}
    task_term = terms.pop("task", {})
    losses = {name: history(runner, name) for name in scalar_names(runner, "loss")}
    assert all(math.isfinite(value) for values in losses.values() for value in values)
    logged = {name.removeprefix("loss_") for name in losses if name.startswith("loss_")} - {"ce"}
    assert logged == set(terms)
    for name, term in terms.items():
        assert (max(losses[f"loss_{name}"]) > 0) == has_weight(term), name
    task_losses = losses["loss_ce" if task == "image" else "decode.loss_ce"]
    assert (max(task_losses) > 0) == has_weight(task_term)


def test_the_recipes_of_the_installed_package_need_no_path(folder: Path) -> None:
    file = folder / "package.py"
    file.write_text("_base_ = ['student_image.py', 'mmickd::_base_/methods/kd.py']\n")
    cfg = read_config(str(file), teacher_options(folder, "kd", "image"))
    runner = run(cfg)
    assert max(history(runner, "loss_kd")) > 0


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_configs_of_the_page_keep_the_hooks_of_the_student(
    block: str, folder: Path, tmp_path: Path
) -> None:
    has_other_hooks = "_base_ = [" not in block
    student = (folder / "student_image.py").read_text()
    if has_other_hooks:
        student += "\ncustom_hooks = [dict(type='EMAHook')]\n"
    (tmp_path / "students_config.py").write_text(student)
    (tmp_path / "kd.py").write_text((METHODS / "kd.py").read_text())
    file = tmp_path / "run.py"
    block = block.replace("path/to/the/students_config.py", "students_config.py")
    file.write_text(block.replace("path/to/mmickd", str(REPO)))
    cfg = Config.fromfile(file)
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert hooks == ["EMAHook"] * has_other_hooks + ["mmickd.ICKDHook"]
    assert hook_entry(cfg).losses.picd is None
    dumped = Config.fromstring(cfg.pretty_text, ".py")
    assert dumped.custom_hooks == cfg.custom_hooks


def test_the_page_lists_every_recipe() -> None:
    table = re.sub(r"### Evidence\n.*?\n## ", "\n## ", PAGE, flags=re.DOTALL)
    listed = re.findall(r"^\| `(\w+)\.py` \|", table, re.MULTILINE)
    assert sorted(listed) == RECIPES


@pytest.mark.parametrize("recipe", [name for name in RECIPES if not name.startswith("ickd_")])
def test_the_first_comment_has_evidence_and_source(recipe: str) -> None:
    comment = (METHODS / f"{recipe}.py").read_text().partition("custom_hooks")[0]
    assert "\n# Evidence: " in comment and "\n# Source: " in comment
    text = re.sub(r"\n# ", " ", comment)
    assert [figure for figure in FIGURE.findall(text) if figure not in TABLES] == []


def test_figures_of_the_page_are_those_of_the_tables() -> None:
    assert [figure for figure in FIGURE.findall(PAGE) if figure not in TABLES] == []
