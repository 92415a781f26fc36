"""Table of a comparison: means, standard errors, paired differences and tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mmickd.experiments.plan import Published

ROUNDING = 1e-9
"""Deviation of equal numbers by rounding, relative to their size."""


@dataclass(frozen=True)
class MeanSE:
    """Mean and standard error of some numbers."""

    mean: float
    error: float | None  # None for a single number

    def text(self, signed: bool = False) -> str:
        """Format as ``91.2 ± 0.3``."""
        mean = number(self.mean, signed)
        return mean if self.error is None else f"{mean} ± {self.error:.2f}"


@dataclass(frozen=True)
class Row:
    """Row of the table."""

    name: str
    setting: str  # setting that was chosen; empty if there was no choice
    values: tuple[float, ...]  # metric at the end of each run, in the order of the seeds
    ms: float  # milliseconds of a training step, median over the seeds
    last: MeanSE  # of ``values``
    best: MeanSE  # of the best value of each run
    to: dict[str, MeanSE]  # paired differences of ``values`` to other rows; none for the teacher
    p: float | None  # corrected p value of the test against the reference; None without a test
    published: Published | None


def make_rows(
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    reference: str = "KD",
    controls: Sequence[str] = (),
    published: Mapping[str, Published | None] | None = None,
) -> list[Row]:
    """Return the rows in the order of ``records``; only the students are compared.

    Args:
        records: Records of each row's runs by seed, by the name of the row.
        reference: Name of the row to compare to.
        controls: Names of further rows to compare to, without a test.
        published: Numbers of papers, by the name of the row.
    """
    last = {name: tuple(run["last"] for run in runs) for name, runs in records.items()}
    compared = [name for name in last if name not in (reference, "teacher")]
    p_values = {name: paired_p(last[name], last[reference]) for name in compared}
    tested = {name: p for name, p in p_values.items() if p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        Row(
            name=name,
            # without a selection the setting is part of the row's name
            setting=runs[0]["setting"] if runs[0]["name"] == name else "",
            values=last[name],
            ms=median(run["ms_per_step"] for run in runs),
            last=mean_se(last[name]),
            best=mean_se([run["best"] for run in runs]),
            to={
                other: mean_se([a - b for a, b in zip(last[name], last[other], strict=True)])
                for other in (reference, *controls)
                if name not in (other, "teacher")
            },
            p=corrected.get(name),
            published=(published or {}).get(name),
        )
        for name, runs in records.items()
    ]


def number(value: float, signed: bool = False) -> str:
    """Format a number of a table; 'n/a' if it is not finite."""
    return f"{value:{'+' if signed else ''}.2f}" if math.isfinite(value) else "n/a"


def mean_se(values: Sequence[float]) -> MeanSE:
    """Return mean and standard error (sample deviation over the root of the count).

    The mean is NaN, without an error, if a number is not finite.
    """
    mean = sum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
    if len(values) < 2 or math.isnan(mean):
        return MeanSE(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return MeanSE(mean, math.sqrt(variance / len(values)))


def paired_p(values: Sequence[float], to: Sequence[float]) -> float | None:
    """Return the two-sided p value of the paired t-test; None if there is no test.

    There is no test for fewer than two pairs, for a number that is not finite, or for differences
    that are equal up to rounding, as their variance is 0.

    Args:
        values: One number per seed.
        to: Numbers of the same seeds to compare with.

    Raises:
        ValueError: If ``values`` and ``to`` have different lengths.

    Example:
        >>> round(paired_p([91.0, 81.0, 74.0], [90.0, 80.0, 70.0]), 4)
        0.1835
    """
    from scipy.stats import t  # slow to import, needed for tables only

    differences = [a - b for a, b in zip(values, to, strict=True)]
    n = len(differences)
    if n < 2:
        return None
    mean = sum(differences) / n
    squares = sum((difference - mean) ** 2 for difference in differences)
    rounding = n * (ROUNDING * max(map(abs, (*values, *to)))) ** 2
    if not math.isfinite(squares) or squares <= rounding:
        return None
    return float(2 * t.sf(abs(mean) * (n * (n - 1) / squares) ** 0.5, n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values with Holm's step-down correction for multiple tests.

    Args:
        p_values: P values of single tests; NaN stands for no test, and stays NaN.

    Returns:
        Corrected p values, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    tests = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(sorted(tests, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(tests) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def as_markdown(
    title: str,
    metric_label: str,
    rows: Sequence[Row],
    reference: str = "KD",
    controls: Sequence[str] = (),
) -> str:
    """Return the table of a comparison in Markdown."""
    columns: list[tuple[str, list[str]]] = [(title, [row.name for row in rows])]
    if any(row.setting for row in rows):
        columns.append(("setting", [row.setting for row in rows]))
    columns.append((f"{metric_label}, last", [row.last.text() for row in rows]))
    columns.append(("best", [row.best.text() for row in rows]))
    if any(row.published for row in rows):
        texts = [row.published.text() if row.published else "" for row in rows]
        columns.append(("published", texts))
    columns.append((f"paired difference to {reference}", _differences(rows, reference)))
    columns.append(("p (Holm)", [_p_text(row.p) for row in rows]))
    columns += [(f"to {control}", _differences(rows, control)) for control in controls]
    columns.append(("ms per step", [f"{row.ms:.0f}" for row in rows]))
    columns.append(("single seeds", [", ".join(map(number, row.values)) for row in rows]))
    heads, cells = zip(*columns, strict=True)
    return markdown_table(heads, list(zip(*cells, strict=True)))


def _differences(rows: Sequence[Row], to: str) -> list[str]:
    return [row.to[to].text(signed=True) if to in row.to else "" for row in rows]


def _p_text(p: float | None) -> str:
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def note(seeds: int, teacher_per_seed: bool = False) -> str:
    """Return the sentences on how to read the table.

    Args:
        seeds: Number of seeds of each student.
        teacher_per_seed: True if each seed has a separate teacher.
    """
    if seeds < 2:
        return "One seed has no standard error: the table cannot show which method is better."
    runs = "seeds of teacher and student" if teacher_per_seed else "student seeds"
    single = "validation set" if teacher_per_seed else "teacher and one validation set"
    return (
        "Last: metric at the end of a run. Best: the largest of its validations, which is "
        f"optimistic. ±: one standard error over {seeds} {runs}. p: paired t-test of the last "
        "values (two-sided), with Holm's correction for all tests of the table. The error does "
        f"not cover what all runs share: one {single}. Results on small data predict little about "
        "large data. Times were measured with several runs side by side."
    )
