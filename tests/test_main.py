"""``mmickd COMMAND``: every command of ``tools/`` by name."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

import mmickd
from mmickd.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]
TOOLS = {name: name.replace("-", "_") for name in COMMANDS if name != "env"}


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit code of ``mmickd WORDS``."""
    monkeypatch.setattr(sys, "argv", ["mmickd", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_help_has_a_line_for_each_command(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{line}$", lines, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_help(name, monkeypatch, capsys) -> None:
    assert call(monkeypatch, name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: mmickd {name} [-h]")


@pytest.mark.parametrize("name", TOOLS)
def test_a_command_is_the_function_of_its_tool(name, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = runpy.run_path(str(ROOT / "tools" / f"{TOOLS[name]}.py"), run_name="tool")
    assert resolve_name(COMMANDS[name][0]) in tool.values()


def test_every_tool_that_users_call_is_a_command() -> None:
    not_for_users = {"_checkout", "_demo_runs", "demo", "study", "study_pictures"}
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} - not_for_users == {
        *TOOLS.values()
    }


def test_a_command_gets_the_other_arguments(monkeypatch, capsys, tmp_path) -> None:
    assert call(monkeypatch, "bank", "list", "--cache-dir", str(tmp_path)) == 0
    assert f"0 banks, 0.00 GiB in {tmp_path}" in capsys.readouterr().out
    assert call(monkeypatch, "env") == 0
    assert mmickd.__version__ in capsys.readouterr().out


def test_bad_input_is_a_message_and_code_2(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "train", "no_such_config.py") == 2
    assert "error: CONFIG='no_such_config.py' does not exist" in capsys.readouterr().err
    assert call(monkeypatch, "trian") == 2
    assert call(monkeypatch) == 2


def test_help_does_not_import_torch() -> None:
    code = "import sys, mmickd.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
