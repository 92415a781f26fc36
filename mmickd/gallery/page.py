"""The gallery as one HTML file that needs no network and no server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from mmickd.gallery.structures import Guess, LabelIssue, Neighbour, QueryExample

THUMBNAIL = 160
"""Most pixels of a side of an image in the page."""
LOSSLESS = 64
"""Pixels of a side up to which an image is stored as PNG: JPEG would smear it."""
ABOUT_SUSPECTS = (
    "Training images whose nearest rows in the bank vote for another class than their label, the "
    "worst first, with the share of the votes against the label. They may be labelled wrongly, or "
    "just be hard; suspects.csv beside this page has the scores of all images."
)


def write_page(
    file: Path,
    title: str,
    facts: Sequence[str],
    classes: Sequence[str],
    cases: Sequence[QueryExample],
    suspects: Sequence[LabelIssue],
    suspects_in_all: int,
    picture: Callable[[str, str], Image.Image],
) -> None:
    """Write the page.

    Args:
        file: the HTML file.
        title: heading.
        facts: what stands below it.
        classes: names.
        cases: to be shown.
        suspects: to be shown, the worst first.
        suspects_in_all: how many there are, with those that are not shown.
        picture: gives the picture of an image by split and name.
    """
    images = _Images(picture)
    data = {
        "title": title,
        "facts": list(facts),
        "classes": list(classes),
        "cases": [_case(number, case, images) for number, case in enumerate(cases)],
        "suspects": [
            {
                "rank": rank,
                "image": images.add("train", one.image),
                "label": one.label,
                "suggested": one.suggested,
                "score": one.score,
            }
            for rank, one in enumerate(suspects, 1)
        ],
        "suspectsInAll": suspects_in_all,
        "aboutSuspects": ABOUT_SUSPECTS,
    }
    data["images"] = images.stored
    file.write_text(_filled(data), encoding="utf-8")


def _filled(data: dict[str, Any]) -> str:
    """The page around its data."""
    # In a script element, only "<" can end it or begin anything else.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    here = files("mmickd.gallery")
    page = here.joinpath("page.html").read_text(encoding="utf-8")
    for mark, part in (
        ("/*STYLE*/", here.joinpath("page.css").read_text(encoding="utf-8")),
        ("/*SCRIPT*/", here.joinpath("page.js").read_text(encoding="utf-8")),
        ("/*DATA*/", text),  # last: nothing is looked for in it
    ):
        before, _, after = page.partition(mark)
        page = before + part + after
    return page


class _Images:
    """Pictures, each image once."""

    def __init__(self, picture: Callable[[str, str], Image.Image]) -> None:
        self._picture = picture
        self._places: dict[tuple[str, str], int] = {}
        self.stored: list[dict[str, Any]] = []

    def add(self, split: str, name: str) -> int:
        """Place of an image among the stored ones."""
        if (split, name) not in self._places:
            self._places[split, name] = len(self.stored)
            self.stored.append(_stored(name, self._picture(split, name)))
        return self._places[split, name]


def _stored(name: str, picture: Image.Image) -> dict[str, Any]:
    thumbnail = picture.copy()
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    kind = "png" if max(thumbnail.size) <= LOSSLESS else "jpeg"
    buffer = io.BytesIO()
    thumbnail.save(buffer, kind, quality=85, optimize=True)
    uri = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"name": name, "uri": uri, "width": thumbnail.width, "height": thumbnail.height}


def _case(number: int, case: QueryExample, images: _Images) -> dict[str, Any]:
    return {
        "number": number,
        "image": images.add(case.split, case.image),
        "label": case.label,
        "split": case.split,
        "point": case.point,
        "teacher": _guesses(case.teacher),
        "before": _guesses(case.before),
        "after": _guesses(case.after),
        "positives": [_neighbour(one, images) for one in case.positives],
        "negatives": [_neighbour(one, images) for one in case.negatives],
    }


def _neighbour(one: Neighbour, images: _Images) -> dict[str, Any]:
    return {
        "image": images.add("train", one.image),
        "label": one.label,
        "similarity": round(one.similarity, 4),
        "teacher": _guesses(one.teacher),
        "point": one.point,
    }


def _guesses(guesses: Sequence[Guess] | None) -> list[tuple[int, float]] | None:
    return None if guesses is None else [(one.label, round(one.probability, 4)) for one in guesses]
