"""The site builds without a warning; a reference to a missing page or name is an error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
DOCS = Path(__file__).parents[2] / "docs"
LINKS = "[a](nowhere.md)", "[a](index.md#nowhere)", "{py:func}`mmickd.nowhere`"
"""Broken references."""


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = ["-nW", "--keep-going", "-q", "-b", "html", "-d", str(out / "doctrees")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(source), str(out / "html")],
        capture_output=True, text=True, timeout=250, cwd=DOCS.parent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = build(DOCS, out)
    assert built.returncode == 0, built.stderr
    return out / "html"


@pytest.mark.slow
def test_every_page_is_built_and_can_be_reached(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    pages = {page for page in pages if page.parts[0] != "_build"}
    menu = set(re.findall(r'href="([^"#]+)\.html"', (site / "index.html").read_text()))
    assert pages and {str(page) for page in pages} <= menu | {"index"}


@pytest.mark.slow
def test_the_pages_have_the_names_of_the_code(site: Path) -> None:
    assert 'id="mmickd.losses.NICDLoss"' in (site / "reference/api.html").read_text()
    assert "capacity_per_class" in (site / "reference/options.html").read_text()
    assert (site / "searchindex.js").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "link", ["[a](nowhere.md)", "[a](index.md#nowhere)", "{py:func}`mmickd.x`"]
)
def test_a_broken_reference_is_an_error(link: str, tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text())
    (source / "index.md").write_text(f"# Title\n\n{link}\n")
    assert build(source, tmp_path).returncode != 0
