"""Plans, right and wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.plan import (
    KNOWN,
    OF_SELECTIONS,
    OF_STUDENTS,
    OF_TEACHERS,
    Plan,
    Setting,
    read_plan,
    settings_of,
)
from mmickd.experiments.published import Published


def read(folder: Path, **changes: Any) -> Plan:
    plan = {"metric": "m", "teacher": {"config": "t.py"}, "students": {"KD": {"config": "s.py"}}}
    file = folder / "plan.json"
    file.write_text(json.dumps({**plan, **changes}))
    return read_plan(file)


def test_a_grid_is_all_combinations() -> None:
    grid = {"custom_hooks.0.losses.kd.loss_weight": [1, 3], "optim_wrapper.lr": [0.1, 0.2, 0.3]}
    found = settings_of({"grid": grid})
    assert len(found) == 6
    assert found[0] == Setting(
        "kd.loss_weight=1, optim_wrapper.lr=0.1",
        ("custom_hooks.0.losses.kd.loss_weight=1", "optim_wrapper.lr=0.1"),
    )
    assert found[5].name == "kd.loss_weight=3, optim_wrapper.lr=0.3"


def test_settings_whose_options_end_alike_have_names_of_their_own() -> None:
    settings = [["losses.kd.loss_weight.value=3"], ["losses.nicd.loss_weight.value=3"]]
    names = [setting.name for setting in settings_of({"settings": settings})]
    assert names == ["kd.loss_weight.value=3", "nicd.loss_weight.value=3"]
    with pytest.raises(ValueError, match="twice"):
        settings_of({"settings": [["a.b=1"], ["a.b=1"]]})


def test_settings_may_have_names() -> None:
    assert settings_of({"settings": {"long": ["a.b=1"], "none": []}}) == (
        Setting("long", ("a.b=1",)),
        Setting("none"),
    )
    assert settings_of({"settings": [["a.b.c=1", "d=x=y"]]}) == (
        Setting("b.c=1, d=x=y", ("a.b.c=1", "d=x=y")),
    )
    assert settings_of({}) == (Setting(),)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    plan = read(tmp_path)
    assert (plan.title, plan.shown, plan.reference, plan.paired) == ("plan", "m", "KD", False)
    assert plan.row_names == ["KD"] and plan.data is None and plan.select_seeds == ()


def test_teacher_and_students_may_have_published_numbers(tmp_path: Path) -> None:
    students = {"KD": {"config": "s.py", "published": {"value": 76.05, "source": "a paper"}}}
    plan = read(tmp_path, teacher={"config": "t.py", "published": 79}, students=students)
    assert plan.teacher.published == Published(79.0)
    assert plan.students[0].published == Published(76.05, "a paper")


def student(*settings: list[str]) -> dict[str, Any]:
    return {"config": "s.py", **({"settings": settings} if settings else {})}


SELECT = {"seeds": [100], "options": ["a=1"]}
TWO, THREE = student(["a=1"], ["a=2"]), student(["a=1"], ["a=2"], ["a=3"])
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"studnets": {}}, r"missing or unknown: studnets"),
    "of a student": ({"students": {"KD": {"config": "s.py", "option": []}}}, "KD: .*option"),
    "of the teacher": ({"teacher": {"config": "t.py", "seeds": []}}, "teacher: .*seeds"),
    "no config": ({"teacher": {}}, "teacher: .*config"),
    "no seeds": ({"select": {"options": []}}, "select: .*seeds"),
    "reference": ({"reference": "KT"}, "there is no 'KT' to compare .* only KD"),
    "against": ({"against": ["KT"]}, "there is no 'KT' to compare .* only KD"),
    "reference of a row": ({"students": {"KD": TWO}}, r"only KD \(a=1\), KD \(a=2\)"),
    "paired": ({"teacher": {"config": "t.py", "seed": 1, "paired": True}}, "leave 'seed' out"),
    "trials": (
        {"students": {"KD": TWO, "IC-KD": THREE}, "select": SELECT},
        "same number of trials: KD has 2, IC-KD has 3",
    ),
    "no trials": ({"select": SELECT}, "none has"),
    "both": (
        {"students": {"KD": {**TWO, "grid": {"a": [1]}}}},
        "either a grid or settings",
    ),
    "published": ({"teacher": {"config": "t.py", "published": "76"}}, "published='76' must be a n"),
    "published when": (
        {"students": {"KD": {"config": "s.py", "published": {"value": 7, "epoch": "first"}}}},
        "'epoch' .'best' or 'last'.",
    ),
    "empty": ({"students": {"KD": {"config": "s.py", "grid": {"a": []}}}}, "something in it"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_plan_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, **changes)
    assert "plan.json" in str(caught.value)


def test_students_without_settings_need_no_trials(tmp_path: Path) -> None:
    plan = read(tmp_path, students={"task loss": student(), "KD": TWO}, select=SELECT)
    assert plan.row_names == ["task loss", "KD"]


def test_the_plan_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "comparing.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "plan.json").write_text(block)
    plan = read_plan(tmp_path / "plan.json")
    assert plan.paired and [len(student.settings) for student in plan.students] == [1, 3, 3]
    assert plan.students[1].published is not None
    named = KNOWN | OF_TEACHERS | OF_STUDENTS | OF_SELECTIONS
    assert not [key for key in named if f"`{key}`" not in text]
