"""A gallery as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mmickd.gallery.label_issues import write_suspects
from mmickd.gallery.page import write_page
from mmickd.gallery.pictures import draw_example
from mmickd.gallery.structures import LabelIssue, QueryExample
from mmickd.gallery.thumbnails import Thumbnails
from mmickd.utils.timing import Progress

SHOWN_SUSPECTS = 100
"""Of the worst, in the page; the file has all."""


@dataclass(frozen=True)
class Gallery:
    """What there is to be seen.

    Args:
        title: heading of the page.
        facts: what stands below it.
        classes: names.
        cases: queries with their contexts.
        suspects: every class of every image of the bank, the most suspicious first.
        album: pictures of all of them.
    """

    title: str
    facts: Sequence[str]
    classes: Sequence[str]
    cases: Sequence[QueryExample]
    suspects: Sequence[LabelIssue]
    album: Thumbnails

    @property
    def doubted(self) -> list[LabelIssue]:
        """Those whose neighbours vote for another class."""
        return [one for one in self.suspects if one.suggested != one.label]


@dataclass(frozen=True)
class Written:
    """Where a gallery lies.

    Args:
        page: the HTML file.
        pictures: one for each case, in their order.
        suspects: the CSV file.
    """

    page: Path
    pictures: Sequence[Path]
    suspects: Path


def write_gallery(
    out: Path, gallery: Gallery, show: Callable[[int, Image.Image], None] | None = None
) -> Written:
    """Write ``index.html``, ``suspects.csv`` and ``pictures/*.png``.

    Args:
        out: folder, which is made; files of an earlier gallery in it are replaced.
        gallery: what there is.
        show: gets every picture as well, with its number.
    """
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9][0-9]*.png"):
        old.unlink()
    files = []
    clock = Progress(len(gallery.cases), "queries", "pictures", quiet=True)
    for number, case in enumerate(gallery.cases):
        drawn = draw_example(case, gallery.album.picture, gallery.classes)
        files.append(folder / f"{number:03d}.png")
        drawn.save(files[-1])
        if show is not None:
            show(number, drawn)
        clock.step()
    write_suspects(out / "suspects.csv", gallery.suspects, gallery.classes)
    write_page(
        out / "index.html",
        gallery.title,
        gallery.facts,
        gallery.classes,
        gallery.cases,
        gallery.doubted[:SHOWN_SUSPECTS],
        len(gallery.doubted),
        gallery.album.picture,
    )
    return Written(out / "index.html", files, out / "suspects.csv")
