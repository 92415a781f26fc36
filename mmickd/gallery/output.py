"""Output of a gallery: files, and pictures for the backends of a visualizer."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.visualization import Visualizer
from PIL import Image

from mmickd.gallery.page import write_page
from mmickd.gallery.pictures import draw_example
from mmickd.gallery.structures import LabelIssue, QueryExample
from mmickd.gallery.thumbnails import Thumbnails
from mmickd.utils.text import error_text
from mmickd.utils.timing import Progress

MAX_ISSUES_IN_PAGE = 100
"""Maximum number of label issues in the page; the CSV file has all label issues."""


@dataclass(frozen=True)
class Gallery:
    """Content of a gallery.

    Args:
        title: Heading of the page.
        facts: Lines below the heading: level, number of rows, teacher layer, split, ...
        classes: Names of the classes.
        examples: Queries with their contexts.
        labels: All labels of the bank's images, by falling score.
        thumbnails: Thumbnails of all images.
    """

    title: str
    facts: Sequence[str]
    classes: Sequence[str]
    examples: Sequence[QueryExample]
    labels: Sequence[LabelIssue]
    thumbnails: Thumbnails

    @property
    def label_issues(self) -> list[LabelIssue]:
        """Labels that are label issues."""
        return [label for label in self.labels if label.is_issue]


@dataclass(frozen=True)
class GalleryFiles:
    """Files of a gallery.

    Args:
        page: HTML file.
        pictures: PNG file of each example.
        label_issues: CSV file.
    """

    page: Path
    pictures: Sequence[Path]
    label_issues: Path


def write_gallery(
    out: Path, gallery: Gallery, show: Callable[[int, Image.Image], None] | None = None
) -> GalleryFiles:
    """Write ``index.html``, ``label_issues.csv`` and ``pictures/*.png``.

    Args:
        out: Folder to create; files of an earlier gallery in it are replaced.
        gallery: Content.
        show: Function that is called with the number and the picture of each example.
    """
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9][0-9]*.png"):
        old.unlink()
    pictures = []
    progress = Progress(len(gallery.examples), "queries", "pictures", quiet=True)
    for number, example in enumerate(gallery.examples):
        picture = draw_example(example, gallery.thumbnails.picture, gallery.classes)
        pictures.append(folder / f"{number:03d}.png")
        picture.save(pictures[-1])
        if show is not None:
            show(number, picture)
        progress.step()
    files = GalleryFiles(out / "index.html", pictures, out / "label_issues.csv")
    _write_labels(files.label_issues, gallery.labels, gallery.classes)
    write_page(
        files.page,
        gallery.title,
        gallery.facts,
        gallery.classes,
        gallery.examples,
        gallery.label_issues[:MAX_ISSUES_IN_PAGE],
        len(gallery.label_issues),
        gallery.thumbnails.picture,
    )
    return files


def _write_labels(file: Path, labels: Sequence[LabelIssue], classes: Sequence[str]) -> None:
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "suggested", "score", "is_issue"])
        for row in labels:
            names = classes[row.label], classes[row.suggested]
            writer.writerow([row.image, *names, f"{row.score:.4f}", int(row.is_issue)])


class PictureWriter:
    """Writer of pictures to each backend of a visualizer; logs the first error of a backend.

    Args:
        visualizer: Visualizer of mmengine.
    """

    def __init__(self, visualizer: Visualizer) -> None:
        self._backends: list[Any] = list(visualizer._vis_backends.values())
        if type(visualizer).add_image is not Visualizer.add_image:
            self._backends = [visualizer]  # a subclass decides what its backends get
        self._failed: set[int] = set()

    def add(self, name: str, picture: Image.Image, step: int) -> None:
        """Write a picture.

        Args:
            name: Name of the picture.
            picture: RGB.
            step: Step of the run.
        """
        for number, backend in enumerate(self._backends):
            try:
                backend.add_image(name, np.asarray(picture), step)
            except Exception as error:  # any error of a backend, its server or the disk
                if number in self._failed:
                    continue
                self._failed.add(number)
                print_log(
                    f"{type(backend).__name__} rejects the picture {name} "
                    f"({type(error).__name__}: {error_text(error)}). The run continues; check "
                    "visualizer.vis_backends. This is not logged again.",
                    logger="current",
                    level=logging.WARNING,
                )
