"""The messages that docs/when-it-goes-wrong.md explains are those of the code."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADINGS = re.findall(
    r"^### `(.+)`$", (ROOT / "docs/when-it-goes-wrong.md").read_text(), re.MULTILINE
)
OTHER_PACKAGES = {
    "No module named 'mmcv._ext'",
    "operator torchvision::nms does not exist",
    "mmsegmentation is not installed, please install mmsegmentation manually",
    "Too many open files",
    "Bus error",
    "Watchdog caught collective operation timeout",
    "Expected to have finished reduction in the prior iteration",
    "Weights only load failed",
}
"""Headings with messages of torch, torchvision, mmcv and mmengine."""
OWNERS = {"does not fit teacher.cfg": "does not fit ..."}
"""Headings that name the value of a placeholder, and their text in the code."""


@functools.cache
def messages() -> list[str]:
    """Return all texts in the code of mmickd, with ``...`` for each value."""
    texts = []
    for file in (ROOT / "mmickd").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..."
                         for part in node.values]  # fmt: skip
                texts.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_the_page_names_messages_of_other_packages() -> None:
    assert set(HEADINGS) >= OTHER_PACKAGES and len(HEADINGS) == len(set(HEADINGS))


@pytest.mark.parametrize("heading", sorted(set(HEADINGS) - OTHER_PACKAGES))
def test_a_message_is_in_the_code(heading: str) -> None:
    words = OWNERS.get(heading, heading).split("...")
    pattern = re.compile(".*".join(map(re.escape, words)), re.DOTALL)
    assert any(pattern.search(message) for message in messages())
