"""Report of ``mmickd check``: sections for the terminal and for the JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from mmickd.commands.terminal import table
from mmickd.diagnostics.finding import Finding


@dataclass(frozen=True)
class Section:
    """Section of the report: a table, and plain values for the JSON file.

    Args:
        title: Title of the table; the whole text of a section without columns.
        columns: Names of the columns.
        rows: Cells of the table.
        values: Entries of the JSON file by key.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """Report on a run before its first step.

    Args:
        sections: Sections in their order.
        findings: Findings about the run, and warnings of other packages (level info).
    """

    sections: Sequence[Section]
    findings: Sequence[Finding]

    @property
    def warnings(self) -> list[str]:
        """Texts of the warnings."""
        return [finding.text for finding in self.findings if finding.level == "warning"]

    @property
    def notes(self) -> list[str]:
        """Texts of the warnings of other packages."""
        return [finding.text for finding in self.findings if finding.level == "info"]

    def print(self, console: Console) -> None:
        """Print the tables, the findings and the verdict."""
        for section in self.sections:
            console.print()
            if section.columns:
                console.print(table(section.title, section.columns, section.rows))
            else:
                console.print(Text(section.title))
        console.print()
        for note in self.notes:
            console.print(Text(f"note of another package: {note}", "dim"))
        for warning in self.warnings:
            console.print(Text.assemble(("warning: ", "bold yellow"), warning))
        number = len(self.warnings)
        warnings = f"{number} warning{'s' * (number != 1)}, see above."
        style = "bold yellow" if number else "bold green"
        console.print(Text(f"Verdict: {warnings if number else 'OK.'}", style))

    def to_json(self) -> dict[str, Any]:
        """Return the values of all sections and the findings (keys: docs/commands/check.md)."""
        values = {key: value for section in self.sections for key, value in section.values.items()}
        return {
            **values,
            "warnings": self.warnings,
            "notes": self.notes,
            "findings": findings_as_json(self.findings),
        }


def findings_as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return code, level and text of each finding."""
    return [vars(finding).copy() for finding in findings]
