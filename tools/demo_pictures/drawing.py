"""Draws retrieved samples and predictions with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from retrieved import Answer, Place

PATCH = 0.4
"""Side of a patch around a pixel, as a share of its image."""


def read(path: str) -> np.ndarray:
    """A picture, (H, W, 3), uint8."""
    return np.asarray(Image.open(path).convert("RGB"))


def patch(place: Place) -> np.ndarray:
    """The image of a place, or what lies around its pixel (grey beyond the border)."""
    picture = read(place.path)
    if place.centre is None:
        return picture
    half = max(2, round(picture.shape[0] * PATCH / 2))
    padded = np.pad(picture, ((half, half), (half, half), (0, 0)), constant_values=128)
    top, left = (
        int(c * size) for c, size in zip(place.centre, picture.shape[:2], strict=True)
    )  # its own row and column, moved by the padding, minus half a patch
    return padded[top : top + 2 * half, left : left + 2 * half]


def draw_answers(answers: Sequence[Answer], classes: Sequence[str], file: Path) -> None:
    """One row per query: query, positives, negatives, with class and similarity."""
    import matplotlib.pyplot as plt

    each = max(len(a.positives) + len(a.negatives) for a in answers)
    size = (1.25 * (each + 1), 1.55 * len(answers) + 0.6)
    figure, axes = plt.subplots(
        len(answers), each + 1, figsize=size, squeeze=False, layout="constrained"
    )
    for row, answer in zip(axes, answers, strict=True):
        for axis in row:
            axis.axis("off")
        _show_query(row[0], answer.query, classes)
        sides = [(p, "tab:green", "+") for p in answer.positives]
        sides += [(p, "tab:red", "-") for p in answer.negatives]
        for axis, (place, colour, sign) in zip(row[1:], sides, strict=False):
            axis.imshow(patch(place))
            title = f"{sign} {classes[place.label]}: {place.similarity:.3f}"
            axis.set_title(title, fontsize=8, color=colour)
    figure.suptitle(
        "Query (validation), positives (+) and negatives (-) of the memory bank, with similarity",
        fontsize=9,
    )
    _save(figure, file)


def _show_query(axis: Any, query: Place, classes: Sequence[str]) -> None:
    picture = read(query.path)
    axis.imshow(picture)
    axis.set_title(f"query: {classes[query.label]}", fontsize=8)
    if query.centre is not None:
        y, x = (c * s - 0.5 for c, s in zip(query.centre, picture.shape[:2], strict=True))
        axis.plot(x, y, "o", markersize=7, markerfacecolor="none", markeredgecolor="red")


def draw_classes(
    paths: Sequence[str],
    truth: Sequence[int],
    predictions: dict[str, tuple[Sequence[int], Sequence[float]]],
    classes: Sequence[str],
    file: Path,
) -> None:
    """One column per image; below it what each model says, green where it is right.

    Args:
        paths: the images.
        truth: their classes.
        predictions: by model, the predicted classes and their probabilities.
        classes: names.
        file: where to write.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(paths), figsize=(1.25 * len(paths) + 1.5, 2.6), squeeze=False
    )
    for column, axis in enumerate(axes[0]):
        axis.imshow(read(paths[column]))
        axis.axis("off")
        axis.set_title(f"is {classes[truth[column]]}", fontsize=9)
        for line, (labels, scores) in enumerate(predictions.values()):
            said = f"{classes[labels[column]]}  {scores[column]:.2f}"
            colour = "tab:green" if labels[column] == truth[column] else "tab:red"
            place = dict(transform=axis.transAxes, fontsize=8, va="top")
            y = -0.08 - 0.16 * line
            axis.text(0.5, y, said, color=colour, ha="center", **place)
            if column == 0:
                axis.text(-0.15, y, list(predictions)[line], ha="right", **place)
    _save(figure, file)


def draw_maps(
    paths: Sequence[str], maps: dict[str, Sequence[np.ndarray]], palette: Any, file: Path
) -> None:
    """One row per image; its picture, then the label map of the truth and of each model.

    Args:
        paths: the images.
        maps: by name, a label map (h, w) of each image.
        palette: colour of each class, (C, 3).
        file: where to write.
    """
    import matplotlib.pyplot as plt

    colours = np.asarray(palette, np.uint8)
    size = (1.4 * (len(maps) + 1), 1.42 * len(paths) + 0.3)
    figure, axes = plt.subplots(
        len(paths), len(maps) + 1, figsize=size, squeeze=False, layout="constrained"
    )
    for number, row in enumerate(axes):
        pictures = {"picture": read(paths[number])}
        pictures.update({name: colours[each[number]] for name, each in maps.items()})
        for axis, (name, picture) in zip(row, pictures.items(), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.axis("off")
            if number == 0:
                axis.set_title(name, fontsize=8)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)
