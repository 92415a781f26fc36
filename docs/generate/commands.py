"""The page of the commands, from their argument parsers."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stdout, suppress
from pkgutil import resolve_name
from unittest.mock import patch

from docs.generate.tables import table
from mmickd.__main__ import COMMANDS


def commands_page() -> str:
    """Return the page with the full help of each command."""
    rows = [[f"[`mmickd {name}`](#{name})", text] for name, (_, text) in COMMANDS.items()]
    parts = [
        "# Commands",
        "Look up every argument of every command. `mmickd NAME` and `python -m mmickd NAME` are "
        "the same;\nin a clone `python tools/NAME.py` is too.",
        table(["command", "what it does"], rows),
        *(f"## {name}\n\n```text\n{help_of(name)}\n```" for name in COMMANDS),
    ]
    return "\n\n".join(parts) + "\n"


def help_of(name: str) -> str:
    """Return what ``mmickd NAME --help`` prints, 100 columns wide, without terminal colours."""
    output = io.StringIO()
    surroundings = {"COLUMNS": "100", "NO_COLOR": "1"}
    with (
        patch.object(sys, "argv", [f"mmickd {name}", "--help"]),
        patch.dict(os.environ, surroundings),
        redirect_stdout(output),
        suppress(SystemExit),
    ):
        resolve_name(COMMANDS[name][0])()
    return output.getvalue().rstrip()
