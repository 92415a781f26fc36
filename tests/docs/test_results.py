"""Figures of the pages are those of the recorded runs."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT

PAGES = [*sorted((ROOT / "docs/results").glob("*.md")), ROOT / "docs/understand/which-method.md"]
TABLES = "".join(
    path.read_text()
    for path in (
        *(ROOT / "results").glob("*.md"),
        ROOT / "configs/demo/README.md",
        ROOT / "configs/small/README.md",
    )
)
FIGURE = re.compile(r"[-+]?\d+\.\d+ ± \d+\.\d+")
NOT_KEPT = "not kept"
"""Mark of the lines whose figures come from runs that are not in the repository."""


def differences() -> Iterator[str]:
    """Yield the paired difference of each two rows with the same teacher, mean ± standard error."""
    tables: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for path in (ROOT / "results").glob("*.jsonl"):
        table = tables[path.stem.removesuffix("_tuned")]
        for line in path.read_text().splitlines():
            run = json.loads(line)
            if run["kind"] == "report":
                table[f"{path.stem} {run['name']}"][run["seed"]] = run["last"]
    for table in tables.values():
        for a, b in permutations(table.values(), 2):
            values = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
            if len(values) > 1:
                error = statistics.stdev(values) / math.sqrt(len(values))
                yield f"{statistics.mean(values):+.2f} ± {error:.2f}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_figures_of_the_pages_come_from_recorded_runs(page: Path) -> None:
    recorded = {*FIGURE.findall(TABLES), *differences()}
    recorded |= {figure.lstrip("+-") for figure in recorded}
    figures = [
        figure
        for line in page.read_text().splitlines()
        if NOT_KEPT not in line
        for figure in FIGURE.findall(line)
    ]
    assert [figure for figure in figures if figure not in recorded] == []


def test_every_plan_and_every_table_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in PAGES)
    names = {path.stem for path in (ROOT / "results/plans").glob("*.json")}
    names |= {path.stem for path in (ROOT / "results").glob("*.jsonl")}
    assert sorted(name for name in names if f"`{name}`" not in text) == []
