"""What commands show, and leave for scripts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 120
"""Letters of a line where the output is no terminal."""


def console() -> Console:
    """Where commands write: in colour on a terminal, plain lines of text in a file or a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table, its first column to the left and the numbers to the right.

    Args:
        title: above it.
        head: names of the columns.
        rows: cells, shown as they are, markup and all letters alike.

    Example:
        >>> table("rows", ["class", "rows"], [["cat", 3]]).row_count
        1
    """
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(head):
        made.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


Say = Callable[[str], None]
"""Takes a line of plain text."""


@contextmanager
def progress() -> Iterator[tuple[Say, Say]]:
    """Where work of some length tells how it goes.

    Yields:
        What takes the lines that stay, and what takes those on how far it is: the latest one alone
        stands below the others on a terminal; in a file or a pipe all stay.
    """
    where = console()
    if not where.is_terminal:
        say: Say = lambda line: print(line, flush=True)  # noqa: E731
        yield say, say
        return
    # Without a thread of its own: beside one, starting a process is not safe.
    with Live(console=where, auto_refresh=False, transient=True) as live:
        yield (
            lambda line: where.print(Text(line)),
            lambda line: live.update(Text(line), refresh=True),
        )


def show_markdown(text: str) -> None:
    """Print Markdown, laid out on a terminal, as it is in a file or a pipe."""
    where = console()
    if where.is_terminal:
        where.print(Markdown(text))
    else:
        print(text)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found as JSON")
