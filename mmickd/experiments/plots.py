"""Plots of a comparison: the metric during the runs, and at their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmickd.experiments.table import MeanSE, Row, mean_se

Curve = Sequence[Sequence[float]]
"""Points of step and value."""


def draw_curves(
    file: Path, title: str, metric_label: str, unit: str, curves: Mapping[str, Sequence[Curve]]
) -> None:
    """Draw the mean over the seeds of each row, with a band of one standard error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, seed_curves in curves.items():
        steps, values = mean_curve(seed_curves)
        means, errors = [v.mean for v in values], [v.error or 0.0 for v in values]
        (line,) = axes.plot(steps, means, label=name, marker="." if len(steps) < 20 else "")
        low = [mean - error for mean, error in zip(means, errors, strict=True)]
        high = [mean + error for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel=unit, ylabel=metric_label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=120)


def draw_rows(file: Path, title: str, metric_label: str, rows: Sequence[Row]) -> None:
    """Draw the result of each row: mean, one standard error, and a tick for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour = "C7" if row.name == "teacher" else "C0"
        axes.plot(row.values, [place] * len(row.values), "|", color=colour, alpha=0.5)
        axes.errorbar(
            row.last.mean, place, xerr=row.last.error or 0.0, fmt="o", color=colour, capsize=3
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set(title=title, xlabel=f"{metric_label}, last")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(file, dpi=120)


def mean_curve(curves: Sequence[Curve]) -> tuple[list[float], list[MeanSE]]:
    """Return mean and error over the seeds, at the steps that all runs have validated.

    A run that was stopped between a checkpoint and its validation lacks a step.

    Example:
        >>> mean_curve([[[1, 2.0], [2, 4.0]], [[2, 6.0]]])
        ([2], [MeanSE(mean=5.0, error=1.0)])
    """
    values = [{step: value for step, value in curve} for curve in curves]
    steps = sorted(set.intersection(*(set(points) for points in values)))
    return steps, [mean_se([points[step] for points in values]) for step in steps]
