"""Tables, progress, Markdown and JSON of the commands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mmickd.commands.terminal import show_markdown, table
from mmickd.utils.json_files import write_json


def test_markup_in_cells_is_not_interpreted() -> None:
    to = Console(width=60, record=True, quiet=False)
    to.print(table("a [bold]title", ["class", "rows"], [["[red]cat", 3], ["dog", 12]]))
    lines = to.export_text().splitlines()
    assert [line.split() for line in lines[2:]] == [["[red]cat", "3"], ["dog", "12"]]


def test_json_is_written_whole_into_new_folders(tmp_path: Path) -> None:
    file = tmp_path / "new" / "found.json"
    write_json(file, {"bank": {"rows": 3}})
    assert json.loads(file.read_text()) == {"bank": {"rows": 3}}
    assert list(file.parent.iterdir()) == [file]


def test_in_a_file_or_a_pipe_markdown_is_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    show_markdown("| a | b |")
    assert capsys.readouterr().out.splitlines() == ["| a | b |"]


def test_on_a_terminal_markdown_is_rendered(monkeypatch) -> None:
    terminal = Console(force_terminal=True, width=40, record=True, file=io.StringIO())
    monkeypatch.setattr("mmickd.commands.terminal.console", lambda: terminal)
    show_markdown("| a | b |\n| --- | --- |\n| x | y |")
    assert "|" not in terminal.export_text()
