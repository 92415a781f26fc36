"""Tables, progress, Markdown and JSON of the commands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mmickd.commands.terminal import progress, show_markdown, table
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


def test_a_file_or_a_pipe_gets_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as (say, show):
        say("begun")
        show("half")
        say("[red]done")
    show_markdown("| a | b |")
    assert capsys.readouterr().out.splitlines() == ["begun", "half", "[red]done", "| a | b |"]


def test_a_terminal_shows_only_the_latest_state(monkeypatch) -> None:
    terminal = Console(force_terminal=True, width=40, record=True, file=io.StringIO())
    monkeypatch.setattr("mmickd.commands.terminal.console", lambda: terminal)
    with progress() as (say, show):
        show("1 of 2")
        say("[red]done")
        show("2 of 2")
    written = terminal.file.getvalue()
    assert written.count("[red]done\n") == 1
    assert "1 of 2\n" not in written.partition("[red]done")[0] and "\x1b[2K" in written
    show_markdown("| a | b |\n| --- | --- |\n| x | y |")
    assert "|" not in terminal.export_text()
