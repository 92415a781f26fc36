"""Draw results of this repository.

``python docs/figures/results.py`` writes docs/images/result-*.png. The values are read from the
.jsonl files of the results, which have a line for each run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
LABEL_ERRORS = {
    "context DIST, layer 2": ("neighbour targets", "#1a7f37"),
    "DIST": ("DIST", "#bc4c00"),
    "label smoothing": ("label smoothing", "#8250df"),
    "KD": ("KD", "#9a6700"),
    "teacher": ("teacher", "#0969da"),
}
"""Label and colour of the drawn rows of ``digits_noise40_late``."""
SCENES = {
    "NICD, falling": "NICD, its weight falls to 0",
    "NICD, falling, random rows": "control: the same, random rows",
    "CWD": "CWD",
    "DIST": "DIST",
    "KD, every cell": "KD",
    "label smoothing": "control: label smoothing",
    "task loss": "task loss",
    "teacher": "teacher",
}
"""Labels of the drawn rows of ``scenes``, in their order."""
THREE_TERMS = {
    "NICD": "NICD alone",
    "KD": "KD alone",
    "KD, PICD and NICD": "KD, PICD and NICD",
    "task loss": "task loss",
    "teacher": "teacher",
}
"""The same of ``scenes_together``."""


def reported_curves(name: str) -> dict[str, list[list[list[float]]]]:
    """Return the validation curves of each row of a table, one for each seed."""
    folders = (ROOT / "results", ROOT / "docs" / "results")
    file = next(path for path in (folder / f"{name}.jsonl" for folder in folders) if path.is_file())
    runs: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    seeds = {run["seed"] for run in runs if run["kind"] == "report"}
    curves: dict[str, list[list[list[float]]]] = {}
    for run in runs:
        if run["kind"] != "trial" and run["seed"] in seeds:
            curves.setdefault(run["name"], []).append(run["curve"])
    return curves


def mean_and_error(values: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard error over the first dimension."""
    array = np.array(values)
    return array.mean(0), array.std(0, ddof=1) / np.sqrt(len(array))


def draw_label_errors() -> Figure:
    """Draw the accuracy of teacher and students during training with 40 % label errors."""
    curves = reported_curves("digits_noise40_late")
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, (label, colour) in LABEL_ERRORS.items():
        steps = [step for step, _ in curves[name][0]]
        mean, error = mean_and_error([[value for _, value in curve] for curve in curves[name]])
        axes.plot(steps, mean, color=colour, marker="o", markersize=4)
        axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
        place = {"xytext": (8, -4), "textcoords": "offset points", "fontsize": 11}
        axes.annotate(f"{label}  {mean[-1]:.1f}", (steps[-1], mean[-1]), color=colour, **place)
    axes.set(xlabel="epoch", ylabel="accuracy (%)", xlim=(8, 97), ylim=(38, 102))
    axes.set_title("Digits, 40 % label errors: students of 30 epochs and their teacher", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def rows_of(name: str, labels: Mapping[str, str]) -> Iterator[tuple[str, list[float]]]:
    """Yield the label and the last value of each seed of the rows to draw."""
    curves = reported_curves(name)
    for row, label in labels.items():
        yield label, [curve[-1][1] for curve in curves[row]]


def draw_scenes() -> Figure:
    """Draw the last mIoU of both tables of digit scenes: each seed, mean and standard error."""
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    heights = [len(SCENES), len(THREE_TERMS)]
    panels = figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": heights})
    titles = ("Digit scenes", "Other digit scenes: three terms tuned together")
    for axes, name, labels, title in zip(
        panels, ("scenes", "scenes_together"), (SCENES, THREE_TERMS), titles, strict=True
    ):
        rows = list(rows_of(name, labels))
        for height, (label, values) in enumerate(rows):
            colour = "#1a7f37" if label.startswith("NICD") else "#59636e"
            mean, error = mean_and_error([[value] for value in values])
            axes.plot(values, [height] * len(values), "o", color=colour, alpha=0.3, markersize=5)
            bar = {"fmt": "o", "color": colour, "capsize": 4, "markersize": 7}
            axes.errorbar(mean, [height], xerr=error, **bar)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=11)
        axes.invert_yaxis()
        axes.set_title(title, loc="left")
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xticks(range(62, 80, 2))
    panels[-1].set_xlabel("mIoU (%) at the end; large dots: mean ± one standard error of 5 seeds")
    return figure


def save(figure: Figure, file: Path) -> None:
    """Write a figure as a PNG file with a palette, which is small."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=120, metadata={"Software": None})
    Image.open(buffer).convert("RGB").quantize(128).save(file, optimize=True)
    print(f"wrote {file}, {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    matplotlib.rcParams.update({"font.size": 11, "axes.titlesize": 12})
    save(draw_label_errors(), IMAGES / "result-label-errors.png")
    save(draw_scenes(), IMAGES / "result-scenes.png")
