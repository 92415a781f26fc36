"""What a tuning came to: a table, and the commands of the best."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mmickd.experiments.table import markdown_table, spread


@dataclass(frozen=True)
class Row:
    """One method.

    Args:
        name: of the method.
        trials: that were told, failed ones too.
        failed: those of them that came to nothing.
        as_is: what the config came to as it is; None where that was not tried, or failed.
        best: number of the best trial; None if all failed.
        values: of the best, of each of its seeds.
        config: file.
        options: of the best, as in ``--cfg-options``.
        searched: names of what was searched, in the order of the last options.
    """

    name: str
    trials: int
    failed: int
    as_is: float | None
    best: int | None
    values: tuple[float, ...]
    config: str
    options: tuple[str, ...]
    searched: tuple[str, ...]

    @property
    def command(self) -> str:
        """The line that trains with the best setting; empty if there is none."""
        if self.best is None:
            return ""
        return f"mmickd train {shlex.join([self.config, '--cfg-options', *self.options])}"


def as_markdown(title: str, metric: str, rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    head = [title, "trials", "failed", f"{metric}, as it is", "best trial", "its number"]
    return markdown_table(head, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    as_is = "" if row.as_is is None else f"{row.as_is:.2f}"
    cells = [row.name, str(row.trials), str(row.failed), as_is]
    if row.best is None:
        return [*cells, "", ""]
    return [*cells, spread(row.values).text(), str(row.best)]


def note(rows: Sequence[Row], select: bool) -> str:
    """What the table can and cannot say.

    Args:
        rows: of the table.
        select: whether the trials validated on data that is named for choosing.
    """
    least = min(row.trials for row in rows)
    where = (
        "The trials were chosen by the data that --select-options names: report the best on the "
        "config's own validation set, which chose nothing."
        if select
        else "The trials were chosen by the config's own validation set: a number of the best on "
        "that set is optimistic, as it was chosen with the answers at hand. Have them validate on "
        "other data with --select-options, or report on other data."
    )
    return (
        f"The metric is that of the last epoch of a trial. Each method had {least} trials. {where} "
        "Compare the best ones over several other seeds (mmickd compare) before you say which "
        "method is better."
    )


def commands(rows: Sequence[Row]) -> str:
    """The command of the best of each method, to be pasted into a shell."""
    return "\n".join(f"# best of {row.name}\n{row.command}" for row in rows if row.best is not None)
