"""What commands show, and leave for scripts."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from mmickd.commands.terminal import table, write_json


def test_cells_are_shown_as_they_are() -> None:
    to = Console(width=60, record=True, quiet=False)
    to.print(table("a [bold]title", ["class", "rows"], [["[red]cat", 3], ["dog", 12]]))
    lines = to.export_text().splitlines()
    assert [line.split() for line in lines[2:]] == [["[red]cat", "3"], ["dog", "12"]]


def test_json_is_written_whole_into_new_folders(tmp_path: Path) -> None:
    file = tmp_path / "new" / "found.json"
    write_json(file, {"bank": {"rows": 3}})
    assert json.loads(file.read_text()) == {"bank": {"rows": 3}}
    assert list(file.parent.iterdir()) == [file]
