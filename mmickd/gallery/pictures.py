"""Picture of a query example: the query on the left, its positives above its negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from mmickd.gallery.fonts import Fonts, Run
from mmickd.gallery.structures import Neighbour, Point, Prediction, QueryExample

PictureOf = Callable[[str, str], Image.Image]
"""Function that returns the picture of an image, given its split and name."""

QUERY, TILE, GAP, LINE = 224, 112, 12, 17
"""Side of the query, side of a neighbour, gap between pictures, line height; in pixels."""
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#656d76"
SAME_CLASS, OTHER_CLASS, QUERIED = "#1a7f37", "#cf222e", "#0969da"
"""Colours of the borders: rows of the query's class, rows of other classes, the query."""
FONTS = Fonts()
"""Fonts of all pictures of a process; a letter that no font has is logged once."""


def draw_example(
    example: QueryExample, picture_of: PictureOf, classes: Sequence[str]
) -> Image.Image:
    """Draw a query with its context.

    The border of a neighbour is green if its class is the query's, else red.

    Args:
        example: Query with its context.
        picture_of: Function that returns the picture of an image.
        classes: Names of the classes.

    Returns:
        RGB picture.
    """
    columns = max(len(example.positives), len(example.negatives), 1)
    row_height = TILE + 3 * LINE + 2 * GAP
    networks = {
        "teacher": example.teacher,
        "student before": example.before,
        "student after": example.after,
    }
    lines: list[tuple[str, str]] = []
    for name, predictions in networks.items():
        if predictions is not None:
            lines += [(name, FAINT), *((f"  {_percent(p, classes)}", INK) for p in predictions)]
    left = max(QUERY, TILE) + 2 * GAP
    height = max(2 * (row_height + LINE), QUERY + (len(lines) + 3) * LINE) + 2 * GAP
    sheet = Image.new("RGB", (left + columns * (TILE + GAP) + GAP, height), PAPER)
    pen = ImageDraw.Draw(sheet)

    picture = picture_of(example.split, example.image)
    _paste(sheet, picture, (GAP, GAP), QUERY, QUERIED, example.point)
    top = QUERY + GAP + 6
    _write(pen, (GAP, top), classes[example.label], INK, left - GAP, bold=True)
    _write(pen, (GAP, top + LINE), f"{example.name} ({example.split})", FAINT, left - GAP)
    for number, (text, colour) in enumerate(lines):
        _write(pen, (GAP, top + (number + 2) * LINE + 4), text, colour, left - GAP)

    for number, (title, rows) in enumerate(
        [("positives", example.positives), ("negatives", example.negatives)]
    ):
        top = GAP + number * (row_height + LINE)
        _write(pen, (left, top), title if rows else f"{title}: none", FAINT, 10 * TILE)
        for column, row in enumerate(rows):
            corner = left + column * (TILE + GAP), top + LINE + 6
            colour = SAME_CLASS if row.label == example.label else OTHER_CLASS
            _neighbour(sheet, row, picture_of, classes, corner, colour)
    return sheet


def _neighbour(
    sheet: Image.Image,
    row: Neighbour,
    picture_of: PictureOf,
    classes: Sequence[str],
    corner: tuple[int, int],
    colour: str,
) -> None:
    _paste(sheet, picture_of("train", row.image), corner, TILE, colour, row.point)
    pen, (x, y) = ImageDraw.Draw(sheet), corner
    _write(pen, (x, y + TILE + 2), f"{row.similarity:.3f}", INK, TILE, bold=True)
    _write(pen, (x, y + TILE + 2 + LINE), classes[row.label], INK, TILE)
    _write(pen, (x, y + TILE + 2 + 2 * LINE), _percent(row.teacher[0], classes), FAINT, TILE)


def _percent(prediction: Prediction, classes: Sequence[str]) -> str:
    return f"{prediction.probability:.0%} {classes[prediction.label]}"


def _paste(
    sheet: Image.Image,
    picture: Image.Image,
    corner: tuple[int, int],
    side: int,
    colour: str,
    point: Point | None,
) -> None:
    """Paste a picture with a border into the middle of a square, and mark its point."""
    scale = side / max(picture.size)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    # small pictures keep their pixels
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    x, y = (start + (side - length) // 2 for start, length in zip(corner, size, strict=True))
    sheet.paste(picture.resize((size[0], size[1]), resampling), (x, y))
    pen = ImageDraw.Draw(sheet)
    box = (x - 3, y - 3, x + size[0] + 2, y + size[1] + 2)
    pen.rectangle(box, outline=colour, width=3)
    if point is not None:
        px, py = x + point[0] * size[0], y + point[1] * size[1]
        for radius, shade in ((8, "#000000"), (7, "#ffffff"), (5, "#000000")):
            pen.ellipse((px - radius, py - radius, px + radius, py + radius), outline=shade)
        pen.ellipse((px - 1, py - 1, px + 1, py + 1), fill="#ffffff")


def _write(
    pen: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: str,
    width: int,
    bold: bool = False,
) -> None:
    """Write one line of text, cut to a width."""
    runs = FONTS.runs(text, bold)
    while text and _length(pen, runs) > width:
        text = text[:-1]
        runs = FONTS.runs(f"{text}…", bold)
    x, baseline = corner[0], corner[1] + FONTS.ascent(bold)
    for run, font in runs:
        pen.text((x, baseline), run, fill=colour, font=font, anchor="ls")
        x += pen.textlength(run, font)


def _length(pen: ImageDraw.ImageDraw, runs: Sequence[Run]) -> float:
    return sum(pen.textlength(run, font) for run, font in runs)
