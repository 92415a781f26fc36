"""The countable rules of CONTRIBUTING.md for names, docstrings, messages and pages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("mmickd", "tools", "benchmarks", "configs", "docs", "tests")
FIRST_WORD = re.compile(r"(?:What|Whether|Of|Where|Those|Who|Whoever|How|By|For|That)\b")
"""Words that begin no docstring."""
NAME = re.compile(r"_*(?:one|found|own|asked|said|wanted|given|known|others|told|who)_*", re.I)
"""Names that do not tell the type of their value: of variables, arguments, functions, classes."""
INSTEAD = {
    r"by heart": "memorised",
    r"by (?:chance|lot)|without chance": "at random; deterministic",
    r"doubt(?:s|ed|ful)|suspects?|suspicious": "label issues",
    r"wrong labels?": "label errors",
    r"(?:not )?told apart": "separated; no measurable difference",
    r"(?:is|are|was|were) told": "reported, logged, detected",
    r"is worth": "adds, improves by",
    r"votes?|voters?": "averaged predictions of the neighbours; neighbour targets",
    r"whoever|somebody|nobody": "the name of the object",
    r"dealt": "sharded",
    r"ha(?:s|ve) (?:\w+ ){0,3}behind (?:it|them)|of its own": "a plain verb; its",
    r"hand(?:s|ed)? on": "pass",
    r"the first that": "the first `X` that",
    r"(?<!not )believe[ds]?": "validated",
    r"lessons?": "steps of a peer",
    r"(?:is|are|be) asked|asks?(?: (?:a|the|its) (?:bank|memory|network|teacher))": "queried",
    r"says what": "predicts, outputs",
    r"(?:a|is|are|be) sound": "OK, passed",
}
"""Words of docstrings, comments and messages, and the words to use instead."""
WORDS = re.compile("|".join(rf"(?P<w{i}>\b(?:{p})\b)" for i, p in enumerate(INSTEAD)), re.I)
WIDTH = 120
GENERATED = "<!-- made by"
"""Beginning of pages that are made from the code, whose lines do not count."""


def python_files() -> list[Path]:
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in paths if ".mim" not in path.parts and path != Path(__file__))


def breaches(source: str) -> Iterator[str]:
    """Yield the breaches of the rules, each with its line number."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            summary = (ast.get_docstring(node) or "").partition("\n\n")[0]
            if match := FIRST_WORD.match(summary):
                yield f"{line}: a docstring begins with {match[0]!r}"
            if summary.endswith(":"):
                yield f"{line}: the first line of a docstring ends with a colon"
        for name in names_in(node):
            if NAME.fullmatch(name):
                yield f"{line}: {name!r} is no noun of its value"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from (f"{line}: {text}" for text in words_in(node.value))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from (f"{token.start[0]}: {text}" for text in words_in(token.string))


def names_in(node: ast.AST) -> Iterator[str]:
    """Yield the name that a node assigns or defines."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name


def words_in(text: str) -> Iterator[str]:
    for match in WORDS.finditer(text):
        instead = list(INSTEAD.values())[int((match.lastgroup or "w0")[1:])]
        yield f"{match[0]!r}: write {instead!r}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_sentences_are_plain(path: Path) -> None:
    assert list(breaches(path.read_text())) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""Whether it is right."""', 1),
        ('def f():\n    """Return the bank:"""', 1),
        ("found, x = 1, 2\nfor one in x: pass", 2),
        ("def told(own): pass", 2),
        ('print(f"{3} rows are told")  # by heart', 2),
        ('"""Return the rows."""\nrows = {"found": "told apart"}["found"]', 1),
        ('"""True if a pull request is open; no measurable difference."""\nloss = 1', 0),
    ],
)
def test_breaches_are_counted(source: str, count: int) -> None:
    assert len(list(breaches(source))) == count


def wide_lines(text: str) -> list[int]:
    """Return the numbers of the lines of prose above the width; tables and code do not count."""
    numbers, is_code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        is_prose = not is_code and not line.lstrip().startswith(("|", "<", "![", "[!["))
        if is_prose and len(line) > WIDTH:
            numbers.append(number)
    return numbers


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_prose_of_pages_has_a_bounded_width(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(GENERATED) or not wide_lines(text), wide_lines(text)
