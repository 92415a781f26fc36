"""Fonts of the letters of a picture."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from mmengine.logging import MMLogger
from PIL import Image

from mmickd.gallery import pictures
from mmickd.gallery.fonts import Fonts
from mmickd.gallery.pictures import draw_example
from mmickd.gallery.structures import Prediction, QueryExample

CAT, DOG = "小猫", "猎犬"


def make_font(file: Path, letters: str) -> str:
    """Write a font in which the letters are rectangles, the first the lowest."""
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    for number, _ in enumerate(letters):
        pen = TTGlyphPen(None)
        top = 800 * (number + 1) // len(letters)
        pen.moveTo((100, 0))
        for point in ((100, top), (900, top), (900, 0)):
            pen.lineTo(point)
        pen.closePath()
        glyphs[f"g{number}"] = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(list(glyphs))
    font.setupCharacterMap({ord(letter): f"g{n}" for n, letter in enumerate(letters)})
    font.setupGlyf(glyphs)
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": file.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(file)
    return str(file)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    logger = MMLogger.get_instance("fonts")
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    monkeypatch.setattr(handler, "emit", lambda record: messages.append(record.getMessage()))
    monkeypatch.setattr(logger, "handlers", [handler])
    return messages


def families(fonts: Fonts, text: str, bold: bool = False) -> list[tuple[str, str | None]]:
    return [(run, font.getname()[0]) for run, font in fonts.runs(text, bold)]


def drawn(name: str) -> bytes:
    predictions = (Prediction(0, 0.9), Prediction(1, 0.1))
    example = QueryExample("x.png", 0, "train", predictions, None, None, (), ())
    return draw_example(example, lambda *_: Image.new("RGB", (16, 16)), [name, "b"]).tobytes()


@pytest.mark.parametrize("bold", [True, False])
def test_most_scripts_are_one_run_and_no_other_font_is_searched(bold: bool) -> None:
    def none() -> list[str]:
        raise AssertionError

    text = "75% Hündin, Кот, γάτα, חתול — ☃"
    assert families(Fonts(none), text, bold) == [(text, "DejaVu Sans")]


def test_letters_of_other_scripts_are_in_a_font_that_has_them(
    tmp_path: Path, warnings: list[str]
) -> None:
    small = make_font(tmp_path / "small.ttf", "小")
    bold = make_font(tmp_path / "large-bold.ttf", CAT + DOG)
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font" * 100_000)
    fonts = Fonts(lambda: [str(broken), bold, small, str(tmp_path / "gone.ttf")])
    assert families(fonts, "5% 小猫!") == [
        ("5% ", "DejaVu Sans"),
        ("小", "small"),
        ("猫", "large-bold"),
        ("!", "DejaVu Sans"),
    ]
    assert not warnings


def test_letters_of_no_font_are_logged_once(warnings: list[str]) -> None:
    fonts = Fonts(list)
    for text in (CAT, DOG, "ok"):
        assert families(fonts, text) == [(text, "DejaVu Sans")]
    assert len(warnings) == 1 and CAT in warnings[0] and "fonts-noto-cjk" in warnings[0]


def test_characters_that_no_line_can_have_are_replaced(warnings: list[str]) -> None:
    ((text, _),) = Fonts(list).runs("  two\nlines\t\x00 file\udcff e\u0301")
    assert text == "  two lines   file\ufffd \u00e9" and not warnings
    assert drawn("two\nlines\udcff") == drawn("two lines\ufffd")


def test_names_of_another_script_look_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_font(tmp_path / "cjk.ttf", CAT + DOG)
    monkeypatch.setattr(pictures, "FONTS", Fonts(lambda: [file]))
    assert drawn(CAT) != drawn(DOG)
    monkeypatch.setattr(pictures, "FONTS", Fonts(list))
    assert drawn(CAT) == drawn(DOG), "boxes"


@pytest.mark.parametrize("names", [(CAT, DOG), ("ねこ", "いぬ"), ("고양이", "멍멍이")])
def test_a_font_of_the_machine_is_found(names: tuple[str, str]) -> None:
    if any(family == "DejaVu Sans" for name in names for _, family in families(Fonts(), name)):
        pytest.skip("no font of this script here: apt-get install fonts-noto-cjk")
    assert drawn(names[0]) != drawn(names[1])
