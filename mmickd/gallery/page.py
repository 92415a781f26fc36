"""HTML page of a gallery: one file, which needs no network and no server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from mmickd.gallery.structures import LabelIssue, Neighbour, Prediction, QueryExample

THUMBNAIL = 160
"""Maximum side of an image in the page, in pixels."""
LOSSLESS = 64
"""Side in pixels up to which an image is stored as PNG, because JPEG would blur it."""
ABOUT_LABEL_ISSUES = (
    "Training images whose nearest rows in the bank suggest another class than their label, by "
    "falling score. The label may be wrong, or the image may be hard; label_issues.csv beside this "
    "page has the scores of all labels."
)


def write_page(
    file: Path,
    title: str,
    facts: Sequence[str],
    classes: Sequence[str],
    examples: Sequence[QueryExample],
    label_issues: Sequence[LabelIssue],
    num_label_issues: int,
    picture: Callable[[str, str], Image.Image],
) -> None:
    """Write the page.

    Args:
        file: HTML file.
        title: Heading.
        facts: Lines below the heading.
        classes: Names of the classes.
        examples: Examples to show.
        label_issues: Label issues to show, by falling score.
        num_label_issues: Number of all label issues, shown or not.
        picture: Function that returns the picture of an image, given its split and name.
    """
    images = _Images(picture)
    data = {
        "title": title,
        "facts": list(facts),
        "classes": list(classes),
        "examples": [_example(number, example, images) for number, example in enumerate(examples)],
        "labelIssues": [
            asdict(issue) | {"rank": rank, "image": images.add("train", issue.image)}
            for rank, issue in enumerate(label_issues, 1)
        ],
        "numLabelIssues": num_label_issues,
        "aboutLabelIssues": ABOUT_LABEL_ISSUES,
    }
    data["images"] = images.stored
    file.write_text(_html(data), encoding="utf-8")


def _html(data: dict[str, Any]) -> str:
    """Return the page with its style, script and data."""
    # In a script element, only "<" can end the element or begin markup.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    folder = files("mmickd.gallery")
    page = folder.joinpath("page.html").read_text(encoding="utf-8")
    for mark, part in (
        ("/*STYLE*/", folder.joinpath("page.css").read_text(encoding="utf-8")),
        ("/*SCRIPT*/", folder.joinpath("page.js").read_text(encoding="utf-8")),
        ("/*DATA*/", text),  # last, so that marks in the data are not replaced
    ):
        before, _, after = page.partition(mark)
        page = before + part + after
    return page


class _Images:
    """Images of the page; each image is stored once."""

    def __init__(self, picture: Callable[[str, str], Image.Image]) -> None:
        self._picture = picture
        self._indices: dict[tuple[str, str], int] = {}
        self.stored: list[dict[str, Any]] = []

    def add(self, split: str, name: str) -> int:
        """Return the index of an image in ``stored``."""
        if (split, name) not in self._indices:
            self._indices[split, name] = len(self.stored)
            self.stored.append(_encoded(name, self._picture(split, name)))
        return self._indices[split, name]


def _encoded(name: str, picture: Image.Image) -> dict[str, Any]:
    thumbnail = picture.copy()
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    kind = "png" if max(thumbnail.size) <= LOSSLESS else "jpeg"
    buffer = io.BytesIO()
    thumbnail.save(buffer, kind, quality=85, optimize=True)
    uri = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"name": name, "uri": uri, "width": thumbnail.width, "height": thumbnail.height}


def _example(number: int, example: QueryExample, images: _Images) -> dict[str, Any]:
    return {
        "number": number,
        "image": images.add(example.split, example.image),
        "label": example.label,
        "split": example.split,
        "point": example.point,
        "teacher": _pairs(example.teacher),
        "before": _pairs(example.before),
        "after": _pairs(example.after),
        "positives": [_neighbour(row, images) for row in example.positives],
        "negatives": [_neighbour(row, images) for row in example.negatives],
    }


def _neighbour(row: Neighbour, images: _Images) -> dict[str, Any]:
    return {
        "image": images.add("train", row.image),
        "label": row.label,
        "similarity": round(row.similarity, 4),
        "teacher": _pairs(row.teacher),
        "point": row.point,
    }


def _pairs(predictions: Sequence[Prediction] | None) -> list[tuple[int, float]] | None:
    if predictions is None:
        return None
    return [(p.label, round(p.probability, 4)) for p in predictions]
