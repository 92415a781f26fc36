"""CITATION.cff agrees with the package."""

from __future__ import annotations

from pathlib import Path

import yaml

from mmickd.version import __version__

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_it_cites_this_version() -> None:
    assert CITATION["version"] == __version__
    assert CITATION["license"] == "Apache-2.0"
    assert [author["name"] for author in CITATION["authors"]] == ["The mmickd contributors"]


def test_it_prefers_the_paper() -> None:
    paper = CITATION["preferred-citation"]
    assert paper["url"].endswith("2501.07040")
    assert [author["family-names"] for author in paper["authors"]] == ["Zhu", "Li", "Wang"]
    assert paper["title"] in (ROOT / "README.md").read_text()
