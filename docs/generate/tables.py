"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table.

    Example:
        >>> print(table(["name", "default"], [["`seed`", "0"]]))
        | name | default |
        |---|---|
        | `seed` | 0 |
    """
    ruler = "|---" * len(header) + "|"
    lines = [f"| {' | '.join(cells)} |" for cells in [header, *rows]]
    return "\n".join([lines[0], ruler, *lines[1:]])
