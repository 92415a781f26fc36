"""Rooms import downwards only, and losses are named in few places (docs/extend/architecture.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmickd"
FLOORS = [
    ["utils", "version"],
    ["structures", "registry"],
    ["sampling", "networks"],
    ["losses", "banks", "models", "datasets"],
    ["tasks", "retrieval", "diagnostics"],
    ["teachers"],
    ["building", "storage"],
    ["training"],
    ["gallery"],
    ["hooks"],
    ["experiments"],
    ["commands"],
    ["__main__"],
]
"""Rooms of the package; each may import itself and the rooms above it in this list."""
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def files() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if ".mim" not in path.parts and path != PACKAGE / "__init__.py":
            yield path


def imported(path: Path) -> set[str]:
    """Return the rooms that a file imports, also within functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("mmickd.")}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_what_lies_below_it(path: Path) -> None:
    room = room_of(path)
    for other in imported(path) - {room}:
        assert HEIGHT[other] < HEIGHT[room], f"{room} imports {other}, which is no lower room"


def test_the_page_has_the_rooms_in_their_order() -> None:
    page = (PACKAGE.parent / "docs/extend/architecture.md").read_text()
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page.partition("## Rooms")[2], re.MULTILINE)
    assert [re.findall(r"\w+", row) for row in rows] == FLOORS


def code_of(path: Path) -> str:
    """Return the code of a file without docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_default_terms_are_named_in_one_place_outside_of_their_files() -> None:
    files_of_terms = {PACKAGE / "losses" / f"{name}.py" for name in ("kd", "picd", "nicd")}
    lines = [
        f"{path.relative_to(PACKAGE)}: {line}"
        for path in files()
        if path not in files_of_terms
        for line in code_of(path).splitlines()
        if re.search(r"\b(kd|picd|nicd)\b", line) and not line.startswith("from mmickd.losses")
    ]
    # the defaults of `losses`
    assert len(lines) == 1, "\n".join(lines)
