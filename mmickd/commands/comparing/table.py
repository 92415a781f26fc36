"""The table of a comparison: means, standard errors and paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# two-sided 5 % quantiles of Student's t, by degrees of freedom
T_QUANTILES = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


@dataclass(frozen=True)
class Spread:
    """Mean and standard error of some numbers.

    Args:
        mean: their mean.
        error: standard error of the mean; None where there is only one number.
    """

    mean: float
    error: float | None

    def text(self, signed: bool = False) -> str:
        """As in ``91.2 ± 0.3``."""
        mean = f"{self.mean:+.2f}" if signed else f"{self.mean:.2f}"
        return mean if self.error is None else f"{mean} ± {self.error:.2f}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: what it shows.
        values: the metric of each seed, in the order of the seeds.
        ms: milliseconds of a training step, median over the seeds.
        score: mean of ``values``.
        to_kd: paired difference to KD; None for the teacher and for KD itself.
    """

    name: str
    values: tuple[float, ...]
    ms: float
    score: Spread
    to_kd: Spread | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard error (sample deviation over the root of the count)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Spread(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Spread(mean, math.sqrt(variance / len(values)))


def paired_difference(values: Sequence[float], to: Sequence[float]) -> Spread:
    """Mean and standard error of the differences, seed by seed.

    Raises:
        ValueError: If the two do not have the same seeds.
    """
    if len(values) != len(to):
        raise ValueError(f"pairs need as many values on both sides: {len(values)} and {len(to)}")
    return spread([a - b for a, b in zip(values, to, strict=True)])


def make_rows(
    values: Mapping[str, Sequence[float]], ms: Mapping[str, float], reference: str = "KD"
) -> list[Row]:
    """Rows in the order of ``values``; differences of what has the seeds of ``reference``.

    Args:
        values: metric of each seed, by name.
        ms: milliseconds per step, by name.
        reference: name of the row to compare to.
    """
    rows = []
    for name, numbers in values.items():
        paired = name not in (reference, "teacher")
        difference = paired_difference(numbers, values[reference]) if paired else None
        rows.append(Row(name, tuple(numbers), ms[name], spread(numbers), difference))
    return rows


def as_markdown(title: str, metric: str, rows: Sequence[Row], reference: str = "KD") -> str:
    """The rows as a table in Markdown."""
    difference = f"paired difference to {reference}"
    head = f"| {title} | {metric} | {difference} | ms per step | single seeds |"
    lines = [head, "| --- | --- | --- | --- | --- |"]
    for row in rows:
        difference = "" if row.to_kd is None else row.to_kd.text(signed=True)
        seeds = ", ".join(f"{value:.2f}" for value in row.values)
        lines.append(f"| {row.name} | {row.score.text()} | {difference} | {row.ms:.0f} | {seeds} |")
    return "\n".join(lines)


def note(seeds: int) -> str:
    """A sentence on what the table can and cannot say."""
    if seeds < 2:
        return "One seed has no standard error: this table cannot tell the methods apart."
    quantile = T_QUANTILES[min(seeds - 2, len(T_QUANTILES) - 1)]
    return (
        f"± is one standard error over {seeds} student seeds. With {seeds} seeds a difference has "
        f"to exceed {quantile:.1f} of its standard errors before it is unlikely (5 %) to be "
        "chance. There is one teacher and one validation set, so the error does not cover those, "
        "and such small data say little about large ones. Times were taken with several runs side "
        "by side."
    )
