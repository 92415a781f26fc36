"""Folders import downwards only, and the set of losses is open: what docs/extending.md promises."""

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
"""Rooms of the package; each may import what stands above it in this list, and itself."""
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def files() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if ".mim" not in path.parts and path != PACKAGE / "__init__.py":
            yield path


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("mmickd.")}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_what_lies_below_it(path: Path) -> None:
    own = room_of(path)
    for room in imported(path) - {own}:
        assert HEIGHT[room] < HEIGHT[own], f"{own} imports {room}, which stands above or beside it"


def code_of(path: Path) -> str:
    """The code of a file, without docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_terms_are_named_in_few_places_outside_of_their_files() -> None:
    own = {PACKAGE / "losses" / f"{name}.py" for name in ("kd", "picd", "nicd")}
    lines = [
        f"{path.relative_to(PACKAGE)}: {line}"
        for path in files()
        if path not in own
        for line in code_of(path).splitlines()
        if re.search(r"\b(kd|picd|nicd)\b", line) and not line.startswith("from mmickd.losses")
    ]
    # the defaults
    assert len(lines) == 1, "\n".join(lines)
