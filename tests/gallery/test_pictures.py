"""Query examples as pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from mmickd.gallery import pictures
from mmickd.gallery.pictures import GAP, LINE, OTHER_CLASS, QUERY, SAME_CLASS, TILE, draw_example
from mmickd.gallery.structures import Neighbour, Prediction, QueryExample

PREDICTIONS = (Prediction(0, 0.75), Prediction(1, 0.25))


def picture(split: str, name: str) -> Image.Image:
    size = (40, 20) if name == "wide" else (20, 20)
    return Image.new("RGB", size, {"train": "#00f", "val": "#ff0"}[split])


def drawn(**changes: Any) -> Image.Image:
    near = [Neighbour("n", 0, 0.9, PREDICTIONS), Neighbour("n", 0, 0.8, PREDICTIONS)]
    far = [Neighbour("wide", 1, 0.5, PREDICTIONS, (0.5, 0.5))]
    example = QueryExample("q", 0, "val", PREDICTIONS, PREDICTIONS, None, near, far)
    classes = ["a class", "another whose name is very long indeed"]
    return draw_example(replace(example, **changes), picture, classes)


def colours(image: Image.Image) -> set[str]:
    return {f"#{bytes(colour).hex()}" for _, colour in image.getcolors(10**6)}


def test_the_borders_of_query_and_neighbours_show_the_class() -> None:
    sheet = drawn()
    left = QUERY + 2 * GAP
    assert sheet.getpixel((GAP + QUERY // 2, GAP + QUERY // 2)) == (255, 255, 0), "of val"
    inside = (left + TILE // 2, GAP + LINE + 6 + TILE // 2)
    assert sheet.getpixel(inside) == (0, 0, 255), "of train"
    assert {SAME_CLASS, OTHER_CLASS} <= colours(sheet)
    assert OTHER_CLASS not in colours(drawn(negatives=[]))
    assert SAME_CLASS not in colours(drawn(positives=[]))


def test_a_point_is_marked() -> None:
    plain, marked = drawn(negatives=[]), drawn(negatives=[], point=(0.5, 0.5))
    middle = GAP + QUERY // 2
    assert plain.getpixel((middle, middle)) == (255, 255, 0)
    assert marked.getpixel((middle, middle)) == (255, 255, 255)


def test_all_predictions_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    wrote = []
    monkeypatch.setattr(
        pictures, "_write", lambda pen, at, text, *_, **__: wrote.append((at, text))
    )
    sheet = drawn(after=PREDICTIONS)
    assert max(y for (_, y), _ in wrote) + LINE < sheet.height
    texts = [text for _, text in wrote]
    assert texts.count("  75% a class") == 3 and "0.500" in texts and "q (val)" in texts
