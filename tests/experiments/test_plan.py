"""Plans and their files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.plan import (
    PLAN_KEYS,
    SELECT_KEYS,
    STUDENT_KEYS,
    TEACHER_KEYS,
    Plan,
    Published,
    Setting,
    read_plan,
    select_students,
    settings_of,
)


def read(folder: Path, **changes: Any) -> Plan:
    plan = {"metric": "m", "teacher": {"config": "t.py"}, "students": {"KD": {"config": "s.py"}}}
    file = folder / "plan.json"
    file.write_text(json.dumps({**plan, **changes}))
    return read_plan(file)


def test_a_grid_is_all_combinations() -> None:
    grid = {"custom_hooks.0.losses.kd.loss_weight": [1, 3], "optim_wrapper.lr": [0.1, 0.2, 0.3]}
    settings = settings_of({"grid": grid})
    assert len(settings) == 6
    assert settings[0] == Setting(
        "kd.loss_weight=1, optim_wrapper.lr=0.1",
        ("custom_hooks.0.losses.kd.loss_weight=1", "optim_wrapper.lr=0.1"),
    )
    assert settings[5].name == "kd.loss_weight=3, optim_wrapper.lr=0.3"


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


def test_a_key_that_is_left_out_has_its_default(tmp_path: Path) -> None:
    plan = read(tmp_path)
    assert (plan.title, plan.metric_label, plan.reference) == ("plan", "m", "KD")
    assert plan.row_names == ["KD"] and plan.data is None
    assert plan.select_seeds == () and not plan.teacher_per_seed


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
    "an unknown key": ({"studnets": {}}, "studnets"),
    "of a student": ({"students": {"KD": {"config": "s.py", "option": []}}}, "KD: .*option"),
    "of the teacher": ({"teacher": {"config": "t.py", "seeds": []}}, "teacher: .*seeds"),
    "no config": ({"teacher": {}}, "teacher: .*config"),
    "teacher as a text": ({"teacher": "t.py"}, "teacher: .*'t.py'"),
    "students as a list": ({"students": ["s.py"]}, "students: .*'s.py'"),
    "no seeds": ({"select": {"options": []}}, "select: .*seeds"),
    "reference": ({"reference": "KT"}, "'KT'.* KD"),
    "against": ({"against": ["KT"]}, "'KT'.* KD"),
    "reference of a row": ({"students": {"KD": TWO}}, r"KD \(a=1\), KD \(a=2\)"),
    "paired": ({"teacher": {"config": "t.py", "seed": 1, "paired": True}}, "'seed'"),
    "trials": (
        {"students": {"KD": TWO, "IC-KD": THREE}, "select": SELECT},
        "same number of trials: KD has 2, IC-KD has 3",
    ),
    "no trials": ({"select": SELECT}, "none has"),
    "both": (
        {"students": {"KD": {**TWO, "grid": {"a": [1]}}}},
        "'grid' or 'settings'",
    ),
    "published": ({"teacher": {"config": "t.py", "published": "76"}}, "published='76'"),
    "published when": (
        {"students": {"KD": {"config": "s.py", "published": {"value": 7, "epoch": "first"}}}},
        "'epoch' .'best' or 'last'.",
    ),
    "empty": ({"students": {"KD": {"config": "s.py", "grid": {"a": []}}}}, "'grid' or 'settings'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_the_message_of_a_wrong_plan_names_what_is_wrong(case: str, tmp_path: Path) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, **changes)
    assert "plan.json" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_a_file_that_is_no_json_object_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"plan\.json"):
        read_plan(file)


def test_students_without_settings_need_no_trials(tmp_path: Path) -> None:
    plan = read(tmp_path, students={"task loss": student(), "KD": TWO}, select=SELECT)
    assert plan.row_names == ["task loss", "KD"]


def test_a_part_of_a_plan_keeps_the_controls_among_its_rows(tmp_path: Path) -> None:
    students = {name: {"config": f"{name}.py"} for name in ("KD", "A", "B", "C")}
    plan = read(tmp_path, students=students, against=["B", "C"])
    part = select_students(plan, ["C", "KD"])
    assert (part.row_names, part.controls) == (["KD", "C"], ("C",))
    assert (part.teacher, part.metric) == (plan.teacher, plan.metric)
    with pytest.raises(ValueError, match="no student D"):
        select_students(plan, ["KD", "D"])
    with pytest.raises(ValueError, match="no row 'KD'"):
        select_students(plan, ["A"])


def test_the_plan_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "commands" / "compare.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "plan.json").write_text(block)
    plan = read_plan(tmp_path / "plan.json")
    assert plan.teacher_per_seed and [len(student.settings) for student in plan.students] == [
        1,
        3,
        3,
    ]
    assert plan.students[1].published is not None
    keys = PLAN_KEYS | TEACHER_KEYS | STUDENT_KEYS | SELECT_KEYS
    assert not [key for key in keys if f"`{key}`" not in text]
