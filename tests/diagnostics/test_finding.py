"""Findings: their record in the log, and the list of their codes in the docs."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from mmickd.diagnostics.codes import CODES
from mmickd.diagnostics.finding import Finding
from tests.helpers.logs import LogRecorder

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_finding_is_logged_at_its_level_with_itself(log_recorder: LogRecorder, level) -> None:
    finding = Finding("few_positives", level, "most classes have 3 rows").at("image level")
    finding.log()
    assert log_recorder.records(getattr(logging, level.upper())) == [
        "image level: most classes have 3 rows"
    ]
    assert [record.finding for record in log_recorder._records] == [finding]


def codes_of_package() -> set[str]:
    """Return the first argument of each call of ``Finding`` in the package."""
    codes = set()
    for path in (ROOT / "mmickd").rglob("*.py"):
        if ".mim" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                assert isinstance(node.args[0], ast.Constant), f"{path}: a code must be a literal"
                codes.add(node.args[0].value)
    return codes


def test_every_code_is_described() -> None:
    assert set(CODES) == codes_of_package()
