"""Draw the figure of the method, in light and dark.

``python docs/figures/method.py`` writes docs/images/method-light.svg and method-dark.svg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, HEIGHT = 1000, 660
FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
TITLE = "How mmickd distils"
DESCRIPTION = (
    "Before training, the frozen teacher fills a memory bank with features, logits and labels of "
    "the training set. In each step the teacher's features of the batch retrieve the most similar "
    "rows: positives of the same class and negatives of other classes. PICD compares the "
    "student's logits with the positives, NICD with the teacher's logits and the negatives, KD "
    "with the teacher's logits, the task loss with the labels."
)


@dataclass(frozen=True)
class Palette:
    """Colours of the figure; each pair is fill and border."""

    text: str
    muted: str
    line: str
    band: tuple[str, str]
    plain: tuple[str, str]
    teacher: tuple[str, str]
    student: tuple[str, str]
    positive: tuple[str, str]
    negative: tuple[str, str]
    classes: tuple[str, ...]


PALETTES = {
    "light": Palette(
        text="#1f2328",
        muted="#59636e",
        line="#59636e",
        band=("#f6f8fa", "#d1d9e0"),
        plain=("#ffffff", "#818b98"),
        teacher=("#ddf4ff", "#0969da"),
        student=("#fff1e5", "#bc4c00"),
        positive=("#dafbe1", "#1a7f37"),
        negative=("#ffebe9", "#cf222e"),
        classes=("#1a7f37", "#8250df", "#bf8700", "#cf222e"),
    ),
    "dark": Palette(
        text="#f0f6fc",
        muted="#9198a1",
        line="#9198a1",
        band=("#151b23", "#3d444d"),
        plain=("#212830", "#656c76"),
        teacher=("#10233d", "#4493f8"),
        student=("#33200f", "#f0883e"),
        positive=("#10291a", "#3fb950"),
        negative=("#301419", "#f85149"),
        classes=("#3fb950", "#ab7df8", "#d29922", "#f85149"),
    ),
}
"""Palettes by the name of GitHub's colour scheme."""


class Drawing:
    """SVG elements of one palette, in the order of drawing."""

    def __init__(self, palette: Palette) -> None:
        self.palette = palette
        self.elements: list[str] = []

    def rectangle(
        self, x: int, y: int, width: int, height: int, colours: tuple[str, str], radius: int = 8
    ) -> None:
        """Add a rounded rectangle with fill and border."""
        self.elements.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" '
            f'fill="{colours[0]}" stroke="{colours[1]}" stroke-width="1.5"/>'
        )

    def text(
        self,
        x: int,
        y: int,
        content: str,
        *,
        size: int = 16,
        bold: bool = False,
        colour: str = "",
        anchor: str = "middle",
    ) -> None:
        """Add a line of text; ``y`` is its baseline."""
        weight = ' font-weight="600"' if bold else ""
        self.elements.append(
            f'<text x="{x}" y="{y}" font-size="{size}"{weight} text-anchor="{anchor}" '
            f'fill="{colour or self.palette.text}">{escape(content)}</text>'
        )

    def box(
        self,
        x: int,
        y: int,
        width: int,
        height: int,
        colours: tuple[str, str],
        title: str,
        lines: Sequence[str] = (),
    ) -> None:
        """Add a rectangle with a bold title and lines below it, centred."""
        self.rectangle(x, y, width, height, colours)
        top = y + (height - 20 * len(lines)) // 2 + 6
        self.text(x + width // 2, top, title, size=17, bold=True)
        for number, line in enumerate(lines, 1):
            self.text(x + width // 2, top + 20 * number, line, size=15, colour=self.palette.muted)

    def line(self, *points: tuple[int, int], colour: str = "", has_head: bool = True) -> None:
        """Add an angular line through points, with an arrow head at its end."""
        stroke = colour or self.palette.line
        path = " ".join(f"{x},{y}" for x, y in points)
        self.elements.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2" '
            'stroke-linejoin="round"/>'
        )
        if has_head:
            self.head(points[-2], points[-1], stroke)

    def head(self, start: tuple[int, int], end: tuple[int, int], colour: str) -> None:
        """Add an arrow head that points from ``start`` to ``end``."""
        x, y = end
        dx, dy = ((a > b) - (a < b) for a, b in zip(end, start, strict=True))
        corners = [
            (x + dx, y + dy),
            (x - 9 * dx - 5 * dy, y - 9 * dy + 5 * dx),
            (x - 9 * dx + 5 * dy, y - 9 * dy - 5 * dx),
        ]
        path = " ".join(f"{a},{b}" for a, b in corners)
        self.elements.append(f'<polygon points="{path}" fill="{colour}"/>')

    def dots(self, x: int, y: int, colours: Sequence[str]) -> None:
        """Add a row of dots, each a row of the bank in the colour of its class."""
        for number, colour in enumerate(colours):
            self.elements.append(f'<circle cx="{x + 18 * number}" cy="{y}" r="6" fill="{colour}"/>')

    def svg(self) -> str:
        """Return the whole file."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                f'width="{WIDTH}" height="{HEIGHT}" role="img" font-family="{FONT}">',
                f"<title>{escape(TITLE)}</title>",
                f"<desc>{escape(DESCRIPTION)}</desc>",
                *self.elements,
                "</svg>\n",
            ]
        )


def draw_bank(drawing: Drawing, x: int, y: int) -> None:
    """Add the memory bank: a table of rows, coloured by class."""
    palette = drawing.palette
    drawing.rectangle(x, y, 280, 138, palette.plain)
    drawing.text(x + 140, y + 25, "Memory bank", size=17, bold=True)
    for place, name in ((65, "features"), (154, "logits"), (230, "label")):
        drawing.text(x + place, y + 47, name, size=15, colour=palette.muted)
    for number, colour in enumerate((*palette.classes[:3], palette.classes[0])):
        top = y + 56 + 19 * number
        for place in range(8):
            opacity = 2 + (3 * place + 5 * number + place * number) % 8
            drawing.elements.append(
                f'<rect x="{x + 16 + 12 * place}" y="{top}" width="11" height="13" '
                f'fill="{palette.teacher[1]}" fill-opacity="0.{opacity}"/>'
            )
        for place in range(6):
            height = 3 + (5 * place + 7 * number + place * number) % 9
            drawing.elements.append(
                f'<rect x="{x + 130 + 8 * place}" y="{top + 13 - height}" width="6" '
                f'height="{height}" fill="{palette.muted}"/>'
            )
        drawing.dots(x + 230, top + 7, [colour])


def draw(palette: Palette) -> str:
    """Return the figure as SVG text."""
    drawing = Drawing(palette)
    query_class, *other_classes = palette.classes

    drawing.rectangle(8, 8, 984, 186, palette.band)
    drawing.text(24, 34, "Once, before training", bold=True, colour=palette.muted, anchor="start")
    drawing.box(24, 84, 126, 72, palette.plain, "Training set")
    drawing.line((150, 120), (196, 120))
    drawing.box(196, 84, 136, 72, palette.teacher, "Teacher", ["frozen"])
    drawing.line((332, 120), (384, 120))
    draw_bank(drawing, 384, 36)

    for number, words in enumerate(
        ("one row for each image", "(classifiers) or sampled pixel", "(segmenters); kept on disk")
    ):
        drawing.text(684, 92 + 21 * number, words, size=15, colour=palette.muted, anchor="start")

    drawing.rectangle(8, 206, 984, 446, palette.band)
    drawing.text(24, 232, "Each training step", bold=True, colour=palette.muted, anchor="start")

    # queries and retrieved rows
    drawing.box(196, 256, 136, 210, palette.teacher, "Teacher", ["frozen"])
    drawing.line((332, 284), (360, 284), (360, 221), (440, 221), (440, 175))
    drawing.text(368, 244, "query: features, label", size=15, colour=palette.muted, anchor="start")
    drawing.line((570, 174), (570, 256))
    drawing.text(582, 226, "most similar rows", size=15, colour=palette.muted, anchor="start")
    for y, colours, title, detail, classes in (
        (256, palette.positive, "Positives", "rows of the same class", [query_class] * 4),
        (
            346,
            palette.negative,
            "Negatives",
            "rows of other classes",
            [*other_classes, other_classes[0]],
        ),
    ):
        drawing.rectangle(384, y, 280, 72, colours)
        drawing.text(402, y + 31, title, size=17, bold=True, anchor="start")
        drawing.text(402, y + 54, detail, size=15, colour=palette.muted, anchor="start")
        drawing.dots(588, y + 25, classes)
        drawing.line((664, y + 30), (702, y + 30))

    # the batch, its teacher logits and the student
    drawing.box(24, 400, 126, 72, palette.plain, "Batch", ["images, labels"])
    drawing.line((150, 436), (196, 436))
    drawing.line((87, 472), (87, 562), (196, 562))
    drawing.box(196, 526, 136, 72, palette.student, "Student", ["trained"])
    drawing.line((332, 448), (684, 448), has_head=False)
    drawing.text(384, 440, "teacher's logits", size=15, colour=palette.muted, anchor="start")
    drawing.line((684, 448), (684, 402), (702, 402))
    drawing.line((684, 448), (684, 476), (702, 476))

    # losses, with the student's logits from the right
    student = palette.student[1]
    for y, title, *lines in (
        (256, "PICD", "towards the averaged", "predictions of the positives"),
        (346, "NICD", "towards the teacher,", "away from the negatives"),
        (436, "KD", "towards the teacher"),
        (526, "Task loss", "towards the labels"),
    ):
        drawing.box(702, y, 242, 72, palette.plain, title, lines)
        drawing.line((968, y + 36), (944, y + 36), colour=student)
    corners = ((332, 562), (360, 562), (360, 632), (968, 632), (968, 291))
    drawing.line(*corners, colour=student, has_head=False)
    drawing.text(384, 621, "student's logits", size=15, colour=student, anchor="start")
    words = "the weighted sum of the losses trains the student"
    drawing.text(944, 621, words, size=15, colour=palette.muted, anchor="end")
    return drawing.svg()


if __name__ == "__main__":
    for scheme, colours in PALETTES.items():
        file = IMAGES / f"method-{scheme}.svg"
        file.write_text(draw(colours))
        print(f"wrote {file}")
