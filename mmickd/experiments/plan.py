"""What a comparison's JSON file says: see ``docs/comparing.md``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mmickd.experiments.published import Published, read_published

NEEDED = {"metric", "teacher", "students"}
KNOWN = {*NEEDED, "title", "shown", "options", "reference", "against", "data", "select"}
OF_TRAINEES = {"config", "options", "minutes", "published"}
OF_TEACHERS = {*OF_TRAINEES, "seed", "paired"}
OF_STUDENTS = {*OF_TRAINEES, "grid", "settings"}
OF_SELECTIONS = {"seeds", "options"}


@dataclass(frozen=True)
class Setting:
    """Options to try with a student.

    Args:
        name: what the table calls it; empty where a student has one setting only.
        options: as in ``--cfg-options``.
    """

    name: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A teacher or a student.

    Args:
        name: what the table calls it.
        config: its config file.
        options: as in ``--cfg-options``.
        minutes: how long a run takes, roughly.
        settings: what to try with it, one at least.
        published: what others got.
    """

    name: str
    config: str
    options: tuple[str, ...]
    minutes: float
    settings: tuple[Setting, ...] = (Setting(),)
    published: Published | None = None

    def row(self, setting: Setting) -> str:
        """What the table calls it with one of its settings."""
        return f"{self.name} ({setting.name})" if setting.name else self.name

    def folder(self, setting: Setting) -> str:
        """Return the name of the folder of its runs with a setting, without the seed."""
        row = self.row(setting)
        return "".join(c if c.isalnum() else "_" for c in row).strip("_").lower()


@dataclass(frozen=True)
class Plan:
    """A comparison, as its file describes it.

    Args:
        title: heading of the table.
        metric: its key in the log; more is better.
        shown: what the table calls it.
        reference: the row that the others are compared to.
        against: further rows to compare to.
        options: of every run, as in ``--cfg-options``.
        teacher: the teacher of all students; None: their configs name trained ones.
        teacher_seed: its seed; None: the first of the students'.
        paired: whether there is a teacher for each seed.
        students: what is compared.
        select_seeds: seeds to choose settings by; none: every setting is a row.
        select_options: that have these runs validate on the selection split.
        data: the converter of the data set; None where it must be there.
    """

    title: str
    metric: str
    shown: str
    reference: str
    against: tuple[str, ...]
    options: tuple[str, ...]
    teacher: Entry | None
    teacher_seed: int | None
    paired: bool
    students: tuple[Entry, ...]
    select_seeds: tuple[int, ...]
    select_options: tuple[str, ...]
    data: Mapping[str, Any] | None

    @property
    def row_names(self) -> list[str]:
        """Of the students: with a selection one for each, else one for each setting."""
        if self.select_seeds:
            return [student.name for student in self.students]
        return [student.row(s) for student in self.students for s in student.settings]


def read_plan(file: Path) -> Plan:
    """Read and check the file of a comparison.

    Raises:
        ValueError: if the description is not as it must be.
    """
    said = json.loads(file.read_text())
    _check_keys(said, KNOWN, str(file), NEEDED)
    teacher, select = said["teacher"], said.get("select", {})
    _check_keys(teacher, OF_TEACHERS, f"{file}, teacher", {"config"})
    _check_keys(select, OF_SELECTIONS, f"{file}, select", OF_SELECTIONS if select else set())
    for name, entry in said["students"].items():
        _check_keys(entry, OF_STUDENTS, f"{file}, students, {name}", {"config"})
    try:
        plan = _plan(said, file.stem)
        _check(plan)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return plan


def _plan(said: Mapping[str, Any], name: str) -> Plan:
    teacher, select = said["teacher"], said.get("select", {})
    return Plan(
        title=said.get("title", name),
        metric=said["metric"],
        shown=said.get("shown", said["metric"]),
        reference=said.get("reference", "KD"),
        against=tuple(said.get("against", ())),
        options=tuple(said.get("options", ())),
        teacher=_trainee("teacher", teacher),
        teacher_seed=teacher.get("seed"),
        paired=teacher.get("paired", False),
        students=tuple(_trainee(name, entry) for name, entry in said["students"].items()),
        select_seeds=tuple(select.get("seeds", ())),
        select_options=tuple(select.get("options", ())),
        data=said.get("data"),
    )


def _check_keys(said: Mapping[str, Any], known: set[str], where: str, needed: set[str]) -> None:
    wrong = (needed - set(said)) | (set(said) - known)
    if wrong:
        raise ValueError(f"{where}: keys that are missing or unknown: {', '.join(sorted(wrong))}")


def _trainee(name: str, entry: Mapping[str, Any]) -> Entry:
    options, minutes = tuple(entry.get("options", ())), float(entry.get("minutes", 10))
    published = read_published(entry.get("published"))
    return Entry(name, entry["config"], options, minutes, settings_of(entry), published)


def settings_of(entry: Mapping[str, Any]) -> tuple[Setting, ...]:
    """What a student's ``grid`` or ``settings`` stand for.

    Args:
        entry: with ``grid`` ``{option: values}``: all combinations; or with ``settings``: lists of
            options, ``{name: options}`` where they have names of their own.

    Raises:
        ValueError: if it has both, or one without anything in it.

    Example:
        >>> [setting.name for setting in settings_of({"grid": {"losses.kd.loss_weight": [1, 3]}})]
        ['kd.loss_weight=1', 'kd.loss_weight=3']
    """
    if not {"grid", "settings"} & set(entry):
        return (Setting(),)
    listed = entry.get("settings", ())
    grid = entry.get("grid", {})
    if bool(grid) == bool(listed) or not all(grid.values()):
        raise ValueError("a student needs either a grid or settings, with something in it.")
    if isinstance(listed, Mapping):
        return tuple(Setting(name, tuple(options)) for name, options in listed.items())
    pairs = [[f"{option}={value}" for value in values] for option, values in grid.items()]
    return _named(list(listed) or list(product(*pairs)))


def _named(settings: Sequence[Sequence[str]]) -> tuple[Setting, ...]:
    """Name settings by the ends of their options, as long as is needed to tell them apart.

    Raises:
        ValueError: if two settings have the same options.
    """
    longest = max((option.count(".") + 1 for options in settings for option in options), default=2)
    for parts in range(2, max(2, longest) + 1):
        names = [", ".join(_end(option, parts) for option in options) for options in settings]
        if len(set(names)) == len(names):
            pairs = zip(names, settings, strict=True)
            return tuple(Setting(name, tuple(options)) for name, options in pairs)
    twice = next(name for name, count in Counter(names).items() if count > 1)
    raise ValueError(f"the setting '{twice}' stands there twice.")


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
    for name in (plan.reference, *plan.against):
        if name not in plan.row_names:
            raise ValueError(
                f"there is no '{name}' to compare the others to, only {', '.join(plan.row_names)}."
            )
    if plan.paired and plan.teacher_seed is not None:
        raise ValueError("a paired teacher takes the seeds of its students: leave 'seed' out.")
    if plan.select_seeds:
        counts = {s.name: len(s.settings) for s in plan.students if len(s.settings) > 1}
        if len(set(counts.values())) != 1:
            each = ", ".join(f"{name} has {count}" for name, count in counts.items()) or "none has"
            raise ValueError(
                "with 'select' every student that has settings needs the same number of them, so "
                f"that each method gets the same number of trials: {each}."
            )
