"""Output of tables and Markdown on the terminal, and the argument ``--json``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 120
"""Width in characters of output that is not a terminal."""


def console() -> Console:
    """Return the console of the commands: coloured on a terminal, plain text in a file or pipe."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table whose first column is left-aligned; the other columns are right-aligned.

    Args:
        title: Title above the table.
        head: Names of the columns.
        rows: Cells of each row; rich's markup in them is printed, not interpreted.

    Example:
        >>> table("rows", ["class", "rows"], [["cat", 3]]).row_count
        1
    """
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(head):
        grid.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    return grid


def show_markdown(text: str) -> None:
    """Print Markdown: rendered on a terminal, unchanged in a file or a pipe."""
    terminal = console()
    if terminal.is_terminal:
        terminal.print(Markdown(text))
    else:
        print(text)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
