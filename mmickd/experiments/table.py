"""The table of a comparison: means, standard errors, paired differences and tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmickd.experiments.published import Published
from mmickd.experiments.significance import holm, paired_p


@dataclass(frozen=True)
class MeanSE:
    """Mean and standard error of some numbers.

    Args:
        mean: their mean.
        error: standard error of the mean; None where there is only one number.
    """

    mean: float
    error: float | None

    def text(self, signed: bool = False) -> str:
        """As in ``91.2 ± 0.3``."""
        mean = number(self.mean, signed)
        return mean if self.error is None else f"{mean} ± {self.error:.2f}"


@dataclass(frozen=True)
class SeedResults:
    """What the runs of one row gave.

    Args:
        last: the metric at the end of each run, in the order of the seeds.
        best: the best value of each run.
        ms: milliseconds of a training step, median over the seeds.
        setting: what was chosen for it; empty if nothing was.
        published: what others got.
    """

    last: tuple[float, ...]
    best: tuple[float, ...]
    ms: float
    setting: str = ""
    published: Published | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: what it shows.
        setting: what was chosen for it; empty if nothing was.
        values: the metric at the end of each run, in the order of the seeds.
        ms: milliseconds of a training step, median over the seeds.
        last: of ``values``.
        best: of the best value of each run.
        to: paired differences of ``values``, by the row that they are to; none for the teacher.
        p: of the paired test against the reference, corrected for all rows; None where there is
            none.
        published: what others got.
    """

    name: str
    setting: str
    values: tuple[float, ...]
    ms: float
    last: MeanSE
    best: MeanSE
    to: dict[str, MeanSE]
    p: float | None
    published: Published | None


def number(value: float, signed: bool = False) -> str:
    """Format a number of a table; 'n/a' if it is not finite."""
    return f"{value:{'+' if signed else ''}.2f}" if math.isfinite(value) else "n/a"


def spread(values: Sequence[float]) -> MeanSE:
    """Return mean and standard error (sample deviation over the root of the count).

    A number that is not finite leaves no mean: it is NaN, without an error.
    """
    mean = sum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
    if len(values) < 2 or math.isnan(mean):
        return MeanSE(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return MeanSE(mean, math.sqrt(variance / len(values)))


def paired_difference(values: Sequence[float], to: Sequence[float]) -> MeanSE:
    """Mean and standard error of the differences, seed by seed.

    Raises:
        ValueError: If the two do not have the same seeds.
    """
    if len(values) != len(to):
        raise ValueError(f"pairs need as many values on both sides: {len(values)} and {len(to)}")
    return spread([a - b for a, b in zip(values, to, strict=True)])


def make_rows(
    outcomes: Mapping[str, SeedResults], reference: str = "KD", against: Sequence[str] = ()
) -> list[Row]:
    """Rows in the order of ``outcomes``; the students are compared, the teacher is not.

    Args:
        outcomes: by the name of their row.
        reference: name of the row to compare to.
        against: further ones, without a test.
    """
    compared = [name for name in outcomes if name not in (reference, "teacher")]
    single = [paired_p(outcomes[name].last, outcomes[reference].last) for name in compared]
    tested = {n: p for n, p in zip(compared, single, strict=True) if p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    rows = []
    for name, one in outcomes.items():
        others = [other for other in (reference, *against) if name not in (other, "teacher")]
        to = {other: paired_difference(one.last, outcomes[other].last) for other in others}
        last, best = spread(one.last), spread(one.best)
        p = corrected.get(name)
        rows.append(Row(name, one.setting, one.last, one.ms, last, best, to, p, one.published))
    return rows


def as_markdown(
    title: str,
    metric: str,
    rows: Sequence[Row],
    reference: str = "KD",
    against: Sequence[str] = (),
) -> str:
    """The rows as a table in Markdown."""
    chosen = any(row.setting for row in rows)
    compared = any(row.published for row in rows)
    head = [title, *(["setting"] if chosen else []), f"{metric}, last", "best"]
    head += ["published"] if compared else []
    head += [f"paired difference to {reference}", "p (Holm)", *(f"to {other}" for other in against)]
    head += ["ms per step", "single seeds"]
    lines = []
    for row in rows:
        first, *more = (_difference(row, other) for other in (reference, *against))
        p = "" if row.p is None else f"{row.p:.3f}" if row.p >= 0.001 else "< 0.001"
        seeds = ", ".join(map(number, row.values))
        cells = [row.name, *([row.setting] if chosen else []), row.last.text(), row.best.text()]
        cells += [row.published.text() if row.published else ""] if compared else []
        lines.append([*cells, first, p, *more, f"{row.ms:.0f}", seeds])
    return markdown_table(head, lines)


def _difference(row: Row, to: str) -> str:
    return row.to[to].text(signed=True) if to in row.to else ""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def selection_note(settings: int, seeds: Sequence[int], on_report_data: bool) -> str:
    """Return a sentence on how the settings of a table were chosen.

    Args:
        settings: number of settings of each student that has any.
        seeds: seeds of the trials.
        on_report_data: True if the trials validated on the data that the table reports.
    """
    which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    data = (
        "on the validation data of this table, which flatters the chosen ones"
        if on_report_data
        else "on other data than this table's"
    )
    return f"Of {settings} settings of each method that has any, one was chosen by {which}, {data}."


def missing_note(rows: Sequence[Row]) -> str:
    """Return a sentence on rows whose metric is missing or not finite; empty if there is none."""
    names = [row.name for row in rows if not all(map(math.isfinite, row.values))]
    if not names:
        return ""
    return f"No finite metric in every run, so no mean and no test: {', '.join(names)}."


def note(seeds: int, teachers: bool = False) -> str:
    """A sentence on what the table can and cannot say.

    Args:
        seeds: of each student.
        teachers: whether each of them has a teacher of its own.
    """
    if seeds < 2:
        return "One seed has no standard error: this table cannot tell the methods apart."
    whose = "seeds, of teacher and student" if teachers else "student seeds"
    is_one = (
        "There is one validation set" if teachers else "There is one teacher and one validation set"
    )
    those = "that" if teachers else "those"
    return (
        f"Last: at the end of a run; best: of all its validations, chosen with the answers. "
        f"± is one standard error over {seeds} {whose}; p is of a paired t-test of the last values "
        "(two-sided), by Holm's correction for all tests of the table. "
        f"{is_one}, so the error does not cover {those}, "
        "and such small data say little about large ones. Times were taken with several runs side "
        "by side."
    )
