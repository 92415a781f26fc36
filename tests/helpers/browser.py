"""Pages in a real browser, without a window."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium on PATH: apt-get install chromium (.ci/packages does it)"
)


class RenderedPage(HTMLParser):
    """The elements of a document after its scripts have run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in ("img", "meta", "br"):
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        if self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.elements[index][2].append(data)

    def all(self, selector: str) -> list[tuple[dict[str, str], str]]:
        """Return attributes and text of the elements of a ``#id``, ``.class`` or ``tag``."""
        kind, name = (selector[0], selector[1:]) if selector[0] in "#." else ("", selector)
        return [
            (attrs, re.sub(r"\s+", " ", "".join(texts)).strip())
            for tag, attrs, texts in self.elements
            if {"#": attrs.get("id") == name, ".": name in attrs.get("class", "").split()}.get(
                kind, tag == name
            )
        ]

    def text(self, selector: str) -> str:
        """Return the text of the single element of a selector."""
        ((_, text),) = self.all(selector)
        return text


def render(page: Path, state: str = "", script: str = "") -> RenderedPage:
    """Open a page in the browser and return it after its scripts have run.

    Args:
        page: An HTML file.
        state: Part of its address after the #.
        script: Acts as a user would, after the scripts of the page.
    """
    assert BROWSER is not None
    copy = page.with_name("rendered.html")
    copy.write_text(
        page.read_text().replace("</body>", f"{script and f'<script>{script}</script>'}</body>")
    )
    options = [
        "--headless",
        "--no-sandbox",  # root has none
        "--disable-dev-shm-usage",  # in containers it is small
        "--disable-gpu",
        "--virtual-time-budget=2000",
    ]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    process = subprocess.run(
        [BROWSER, *options, profile, "--dump-dom", f"{copy.as_uri()}#{state}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return RenderedPage(process.stdout)
