"""Plans of comparisons, read from JSON files: see ``docs/commands/compare.md``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from mmickd.utils.text import safe_repr

NEEDED = {"metric", "teacher", "students"}
PLAN_KEYS = {*NEEDED, "title", "shown", "options", "reference", "against", "data", "select"}
ENTRY_KEYS = {"config", "options", "minutes", "published"}
TEACHER_KEYS = {*ENTRY_KEYS, "seed", "paired"}
STUDENT_KEYS = {*ENTRY_KEYS, "grid", "settings"}
SELECT_KEYS = {"seeds", "options"}


@dataclass(frozen=True)
class Published:
    """Number of a paper; with source and epoch ('best' or 'last') if the plan has them."""

    value: float
    source: str = ""
    epoch: str = ""

    def text(self) -> str:
        """Format the number for the table, as in ``76.05 (best)``."""
        return f"{self.value:.2f} ({self.epoch})" if self.epoch else f"{self.value:.2f}"


@dataclass(frozen=True)
class Setting:
    """Options to try with a student."""

    name: str = ""  # name in the table; empty if the student has one setting only
    options: tuple[str, ...] = ()  # as in ``--cfg-options``


@dataclass(frozen=True)
class Entry:
    """Teacher or student of a plan."""

    name: str  # name in the table
    config: str
    options: tuple[str, ...] = ()
    minutes: float = 10.0  # rough duration of a run
    settings: tuple[Setting, ...] = (Setting(),)
    published: Published | None = None

    def row(self, setting: Setting) -> str:
        """Return the name of the row of a setting."""
        return f"{self.name} ({setting.name})" if setting.name else self.name

    def folder(self, setting: Setting) -> str:
        """Return the folder name of the runs with a setting, without the seed."""
        row = self.row(setting)
        return "".join(c if c.isalnum() else "_" for c in row).strip("_").lower()


@dataclass(frozen=True)
class Plan:
    """Entries and options of an experiment, and the rows and columns of its table."""

    title: str
    metric: str  # key in the log; more is better
    students: tuple[Entry, ...]
    metric_label: str = ""  # name of the metric in the table; empty: ``metric``
    reference: str = "KD"  # row that all other rows are compared to
    controls: tuple[str, ...] = ()  # further rows to compare to
    options: tuple[str, ...] = ()  # of every run
    teacher: Entry | None = None  # None: the students' configs have trained teachers
    teacher_seed: int | None = None  # None: the first seed of the students
    teacher_per_seed: bool = False
    select_seeds: tuple[
        int, ...
    ] = ()  # seeds of the choice of settings; empty: each setting is a row
    select_options: tuple[str, ...] = ()  # options of these runs, which validate on other data
    data: Mapping[str, Any] | None = None  # converter of the data set and its arguments

    @property
    def row_names(self) -> list[str]:
        """Names of the students' rows: with a selection one per student, else one per setting."""
        if self.select_seeds:
            return [student.name for student in self.students]
        return [student.row(s) for student in self.students for s in student.settings]


def read_plan(file: Path) -> Plan:
    """Read and check the file of a comparison.

    Raises:
        ValueError: If a key or value is wrong.
    """
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    _check_keys(content, PLAN_KEYS, str(file), NEEDED)
    teacher, select = content["teacher"], content.get("select", {})
    _check_keys(teacher, TEACHER_KEYS, f"{file}, teacher", {"config"})
    _check_keys(select, SELECT_KEYS, f"{file}, select", SELECT_KEYS if select else set())
    _check_object(content["students"], f"{file}, students")
    for name, entry in content["students"].items():
        _check_keys(entry, STUDENT_KEYS, f"{file}, students, {name}", {"config"})
    try:
        plan = Plan(
            title=content.get("title", file.stem),
            metric=content["metric"],
            students=tuple(_entry(name, entry) for name, entry in content["students"].items()),
            metric_label=content.get("shown", content["metric"]),
            reference=content.get("reference", "KD"),
            controls=tuple(content.get("against", ())),
            options=tuple(content.get("options", ())),
            teacher=_entry("teacher", teacher),
            teacher_seed=teacher.get("seed"),
            teacher_per_seed=teacher.get("paired", False),
            select_seeds=tuple(select.get("seeds", ())),
            select_options=tuple(select.get("options", ())),
            data=content.get("data"),
        )
        _check(plan)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return plan


def select_students(plan: Plan, names: Sequence[str]) -> Plan:
    """Return a plan with some of its students, and with the controls among their rows.

    Args:
        plan: The whole plan.
        names: Names of the students; the reference must be one of their rows.

    Raises:
        ValueError: If the plan has no student of a name, or the reference is not selected.
    """
    missing = set(names) - {student.name for student in plan.students}
    if missing:
        raise ValueError(f"the plan '{plan.title}' has no student {', '.join(sorted(missing))}.")
    students = tuple(student for student in plan.students if student.name in names)
    part = replace(plan, students=students)
    part = replace(part, controls=tuple(row for row in plan.controls if row in part.row_names))
    _check(part)
    return part


def _check_object(content: Any, place: str) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{place}: it must be an object {{...}}, got {safe_repr(content)}")


def _check_keys(content: Any, keys: set[str], place: str, needed: set[str]) -> None:
    _check_object(content, place)
    wrong = (needed - set(content)) | (set(content) - keys)
    if wrong:
        raise ValueError(f"{place}: missing or unknown keys: {', '.join(sorted(wrong))}")


def _entry(name: str, entry: Mapping[str, Any]) -> Entry:
    options, minutes = tuple(entry.get("options", ())), float(entry.get("minutes", 10))
    published = _published(entry.get("published"))
    return Entry(name, entry["config"], options, minutes, settings_of(entry), published)


def _published(value: Any) -> Published | None:
    if value is None:
        return None
    entry = value if isinstance(value, Mapping) else {"value": value}
    number, epoch = entry.get("value"), entry.get("epoch", "")
    has_keys = set(entry) <= {"value", "source", "epoch"} and epoch in ("", "best", "last")
    if not has_keys or isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(
            f"published={value!r} must be a number, or a dict with a number as 'value' and "
            "optionally 'source' and 'epoch' ('best' or 'last')."
        )
    return Published(float(number), str(entry.get("source", "")), epoch)


def settings_of(entry: Mapping[str, Any]) -> tuple[Setting, ...]:
    """Return the settings from a student's ``grid`` or ``settings``.

    Args:
        entry: Dict with ``grid`` (``{option: values}``, whose combinations are the settings), or
            with ``settings`` (a list of lists of options, or ``{name: options}``).

    Raises:
        ValueError: If it has both keys, or an empty value.

    Example:
        >>> [setting.name for setting in settings_of({"grid": {"losses.kd.loss_weight": [1, 3]}})]
        ['kd.loss_weight=1', 'kd.loss_weight=3']
    """
    if not {"grid", "settings"} & set(entry):
        return (Setting(),)
    listed, grid = entry.get("settings", ()), entry.get("grid", {})
    if bool(grid) == bool(listed) or not all(grid.values()):
        raise ValueError("a student needs either 'grid' or 'settings', and neither may be empty.")
    if isinstance(listed, Mapping):
        return tuple(Setting(name, tuple(options)) for name, options in listed.items())
    pairs = [[f"{option}={value}" for value in values] for option, values in grid.items()]
    return _named(list(listed) or list(product(*pairs)))


def _named(settings: Sequence[Sequence[str]]) -> tuple[Setting, ...]:
    """Name settings by the shortest ends of their options that make the names unique.

    Raises:
        ValueError: If two settings have the same options.
    """
    longest = max((option.count(".") + 1 for options in settings for option in options), default=2)
    for parts in range(2, max(2, longest) + 1):
        names = [", ".join(_end(option, parts) for option in options) for options in settings]
        if len(set(names)) == len(names):
            pairs = zip(names, settings, strict=True)
            return tuple(Setting(name, tuple(options)) for name, options in pairs)
    twice = next(name for name, count in Counter(names).items() if count > 1)
    raise ValueError(f"the setting '{twice}' is listed twice: remove one.")


def _end(option: str, parts: int) -> str:
    key, _, value = option.partition("=")
    return f"{'.'.join(key.split('.')[-parts:])}={value}"


def _check(plan: Plan) -> None:
    rows: dict[str, str] = {"teacher": "teacher"}
    for student in plan.students:
        for setting in student.settings:
            row, folder = student.row(setting), student.folder(setting)
            if folder in rows:
                raise ValueError(
                    f"'{rows[folder]}' and '{row}' would share the folder {folder}: rename one."
                )
            rows[folder] = row
    for name in (plan.reference, *plan.controls):
        if name not in plan.row_names:
            raise ValueError(
                f"there is no row '{name}' to compare to ('reference', 'against'), only "
                f"{', '.join(plan.row_names)}."
            )
    if plan.teacher_per_seed and plan.teacher_seed is not None:
        raise ValueError("a paired teacher has the seed of its student: remove 'seed'.")
    if plan.select_seeds:
        counts = {s.name: len(s.settings) for s in plan.students if len(s.settings) > 1}
        if len(set(counts.values())) != 1:
            each = ", ".join(f"{name} has {count}" for name, count in counts.items()) or "none has"
            raise ValueError(
                "with 'select' every student that has settings needs the same number of them, so "
                f"that each method gets the same number of trials: {each}."
            )
