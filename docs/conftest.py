"""The code blocks of the pages are tests: each page runs in a working directory, top to bottom.

- A ``bash`` block is run, with ``mmickd`` on ``PATH``.
- A ``python`` block whose first line is a file name (``# student.py``) is written to that file.
  Any other is run as a program of its block alone.
- ``<!-- skip: next "reason" -->`` in the line before a block skips it.
- A comment of ``<!-- invisible-code: bash``, lines of code and ``-->`` is a block that readers do
  not see.
- Blocks of other languages (``text``, ``json``) are not run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

collect_ignore_glob = ["*.py", "_build", "examples"]
FOLDER = Path(__file__).parent

try:
    from sybil import Sybil
    from sybil.parsers.myst import CodeBlockParser, SkipParser
except ImportError:  # sybil needs Python 3.11
    pass
else:
    from tests.helpers.pages import evaluate, set_up, tear_down

    pytest_collect_file = Sybil(
        parsers=[
            SkipParser(),
            *(CodeBlockParser(language=name, evaluator=evaluate) for name in ("bash", "python")),
        ],
        pattern="*.md",
        setup=set_up,
        teardown=tear_down,
    ).pytest()


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the blocks as slow."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker("slow")
