"""The figures of the documentation are those that their scripts draw."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from docs.figures import method, results

IMAGES = Path(__file__).parents[2] / "docs" / "images"


@pytest.mark.parametrize("scheme", method.PALETTES)
def test_the_script_draws_the_figure_of_the_method(scheme: str) -> None:
    svg = method.draw(method.PALETTES[scheme])
    assert svg == (IMAGES / f"method-{scheme}.svg").read_text()
    assert ET.fromstring(svg).get("viewBox") == f"0 0 {method.WIDTH} {method.HEIGHT}"


@pytest.mark.parametrize("draw", [results.draw_label_errors, results.draw_scenes])
def test_figures_of_results_have_the_values_of_the_runs(draw, tmp_path: Path) -> None:
    results.save(draw(), tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").width == 960


def test_means_of_figures_are_those_of_the_tables() -> None:
    rows = {label: sum(values) / len(values) for label, values in results.rows_of(
        "scenes_together", results.THREE_TERMS
    )}  # fmt: skip
    assert round(rows["NICD alone"], 2) == 76.89
    assert round(rows["KD, PICD and NICD"], 2) == 73.25


@pytest.mark.parametrize("file", sorted(IMAGES.glob("*.png")), ids=lambda file: file.name)
def test_pictures_are_small(file: Path) -> None:
    assert file.stat().st_size < 150_000
