"""A case as one picture: the query to the left, its positives above its negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from mmickd.gallery.fonts import Fonts, Run
from mmickd.gallery.structures import Guess, Neighbour, Point, QueryExample

SHOWN = Callable[[str, str], Image.Image]
"""Gives the picture of an image by split and name."""

QUERY, TILE, GAP, LINE = 224, 112, 12, 17
"""Sides of the query and of a neighbour, space between things, height of a line; in pixels."""
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#656d76"
OWN, OTHER, ASKED = "#1a7f37", "#cf222e", "#0969da"
"""Colours of the borders: rows of the query's class, rows of others, the query."""
FONTS = Fonts()
"""Fonts of all pictures of a process; a letter without a font is logged once."""


def draw_example(case: QueryExample, picture: SHOWN, classes: Sequence[str]) -> Image.Image:
    """Draw a query with its context.

    A neighbour's border is green where its class is the query's, else red.

    Args:
        case: to be drawn.
        picture: gives the picture of an image.
        classes: names.

    Returns:
        RGB.
    """
    columns = max(len(case.positives), len(case.negatives), 1)
    row = TILE + 3 * LINE + 2 * GAP
    said = [
        ("teacher", case.teacher),
        ("student before", case.before),
        ("student after", case.after),
    ]
    lines = [line for who, top in said for line in _lines(who, top, classes)]
    left = max(QUERY, TILE) + 2 * GAP
    height = max(2 * (row + LINE), QUERY + (len(lines) + 3) * LINE) + 2 * GAP
    sheet = Image.new("RGB", (left + columns * (TILE + GAP) + GAP, height), PAPER)
    pen = ImageDraw.Draw(sheet)

    _paste(sheet, picture(case.split, case.image), (GAP, GAP), QUERY, ASKED, case.point)
    at = QUERY + GAP + 6
    _write(pen, (GAP, at), classes[case.label], INK, left - GAP, bold=True)
    _write(pen, (GAP, at + LINE), f"{case.name} ({case.split})", FAINT, left - GAP)
    for number, (text, colour) in enumerate(lines):
        _write(pen, (GAP, at + (number + 2) * LINE + 4), text, colour, left - GAP)

    for number, (title, rows) in enumerate(
        [("positives", case.positives), ("negatives", case.negatives)]
    ):
        top = GAP + number * (row + LINE)
        _write(pen, (left, top), title if rows else f"{title}: none", FAINT, 10 * TILE)
        for column, one in enumerate(rows):
            _neighbour(sheet, one, picture, classes, (left + column * (TILE + GAP), top + LINE + 6),
                       OWN if one.label == case.label else OTHER)  # fmt: skip
    return sheet


def _neighbour(
    sheet: Image.Image,
    one: Neighbour,
    picture: SHOWN,
    classes: Sequence[str],
    at: tuple[int, int],
    colour: str,
) -> None:
    _paste(sheet, picture("train", one.image), at, TILE, colour, one.point)
    pen, (x, y) = ImageDraw.Draw(sheet), at
    _write(pen, (x, y + TILE + 2), f"{one.similarity:.3f}", INK, TILE, bold=True)
    _write(pen, (x, y + TILE + 2 + LINE), classes[one.label], INK, TILE)
    _write(pen, (x, y + TILE + 2 + 2 * LINE), _percent(one.teacher[0], classes), FAINT, TILE)


def _lines(who: str, top: Sequence[Guess] | None, classes: Sequence[str]) -> list[tuple[str, str]]:
    """What a network says, one line a class."""
    if top is None:
        return []
    return [(who, FAINT), *((f"  {_percent(one, classes)}", INK) for one in top)]


def _percent(guess: Guess, classes: Sequence[str]) -> str:
    return f"{guess.probability:.0%} {classes[guess.label]}"


def _paste(
    sheet: Image.Image,
    picture: Image.Image,
    at: tuple[int, int],
    side: int,
    colour: str,
    point: Point | None,
) -> None:
    """An image in the middle of a square with a border, its point marked."""
    scale = side / max(picture.size)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    # small pictures keep their pixels
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    x, y = (corner + (side - length) // 2 for corner, length in zip(at, size, strict=True))
    sheet.paste(picture.resize((size[0], size[1]), how), (x, y))
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
    at: tuple[float, float],
    text: str,
    colour: str,
    width: int,
    bold: bool = False,
) -> None:
    """One line of text, cut to a width."""
    runs = FONTS.runs(text, bold)
    while text and _length(pen, runs) > width:
        text = text[:-1]
        runs = FONTS.runs(f"{text}…", bold)
    x, baseline = at[0], at[1] + FONTS.ascent(bold)
    for run, font in runs:
        pen.text((x, baseline), run, fill=colour, font=font, anchor="ls")
        x += pen.textlength(run, font)


def _length(pen: ImageDraw.ImageDraw, runs: Sequence[Run]) -> float:
    return sum(pen.textlength(run, font) for run, font in runs)
