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
    BROWSER is None, reason="no chromium on PATH: apt-get install chromium (.ci/browser does it)"
)


def shown(page: Path, state: str = "", then: str = "") -> Shown:
    """What a page is after its scripts have run.

    Args:
        page: an HTML file.
        state: behind the # of its address.
        then: a script that runs after those of the page, as a user acts.
    """
    assert BROWSER is not None
    acted = page.with_name("acted.html")
    text = page.read_text()
    acted.write_text(text.replace("</body>", f"<script>{then}</script></body>") if then else text)
    words = [
        "--headless",
        "--no-sandbox",  # root has none
        "--disable-dev-shm-usage",  # in containers it is small
        "--disable-gpu",
        "--virtual-time-budget=2000",
    ]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [BROWSER, *words, profile, "--dump-dom", f"{acted.as_uri()}#{state}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Shown(done.stdout)


class Shown(HTMLParser):
    """A document, element by element."""

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
        for place in self._open:
            self.elements[place][2].append(data)

    def all(self, selector: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of elements: by ``#id``, ``.class`` or ``tag``."""
        kind, name = (selector[0], selector[1:]) if selector[0] in "#." else ("", selector)
        return [
            (attrs, re.sub(r"\s+", " ", "".join(words)).strip())
            for tag, attrs, words in self.elements
            if {"#": attrs.get("id") == name, ".": name in attrs.get("class", "").split()}.get(
                kind, tag == name
            )
        ]

    def text(self, selector: str) -> str:
        """Text of the one element."""
        ((_, text),) = self.all(selector)
        return text
