"""``model-index.yml``, which ``mim search mmickd`` reads, agrees with the READMEs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
FILES = yaml.safe_load((REPO / "model-index.yml").read_text())["Import"]
COMPARISONS = {
    "demo": [f"configs/demo/{name}.json" for name in ("digits", "wrong_labels", "scenes")],
    "small": ["results/plans/paradigms_digits.json", "results/plans/paradigms_tin10.json"],
}
"""Plans behind the tables of READMEs whose rows are no configs."""


def metafile(file: str) -> dict[str, Any]:
    return yaml.safe_load((REPO / file).read_text())


def rows(readme: str, head: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column is called ``head``, by their first cell."""
    table = re.search(rf"^\| {head} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", readme, re.MULTILINE)
    assert table, head
    lines = [line.strip("| ").split("|") for line in table[1].splitlines()]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def figures(folder: str) -> dict[str, float]:
    """Return the figures of a folder's configs in its README."""
    readme = (REPO / "configs" / folder / "README.md").read_text()
    if folder not in COMPARISONS:
        ours = {config: cells[-1] for config, cells in rows(readme, "config").items()}
        return {c.removesuffix(".py"): float(v) for c, v in ours.items() if v != "not run yet"}
    results = {}
    for file in COMPARISONS[folder]:
        plan = json.loads((REPO / file).read_text())
        head = "tin10" if "tin10" in file else plan["title"].split(",")[0].lower()
        parts = {"teacher": plan["teacher"], **plan["students"]}
        for name, cells in rows(readme, head).items():
            config = Path(parts[name]["config"]) if name in parts else Path()
            if config.parent.name == folder:
                results[config.stem] = float(cells[0].split("±")[0])
    return results


@pytest.mark.parametrize("file", FILES)
def test_entries_are_complete(file: str) -> None:
    meta = metafile(file)
    (collection,) = meta["Collections"]
    assert (REPO / collection["README"]).is_file()
    for model in meta["Models"]:
        assert model["In Collection"] == collection["Name"]
        assert (REPO / model["Config"]).is_file()
        assert Path(model["Config"]).stem == model["Name"]
        (result,) = model["Results"]
        assert result["Dataset"] == model["Metadata"]["Training Data"]


@pytest.mark.parametrize("file", FILES)
def test_figures_are_those_of_the_readme(file: str) -> None:
    indexed = {}
    for model in metafile(file)["Models"]:
        (indexed[model["Name"]],) = model["Results"][0]["Metrics"].values()
    assert indexed and indexed == figures(Path(file).parent.name)


def test_names_are_unique() -> None:
    names = [model["Name"] for file in FILES for model in metafile(file)["Models"]]
    assert len(names) == len(set(names))


def test_every_readme_with_figures_is_in_the_index() -> None:
    """Plans are behind the other folders."""
    folders = {p.parent.name for p in REPO.glob("configs/*/README.md")} - COMPARISONS.keys()
    with_figures = {folder for folder in folders if figures(folder)}
    assert {Path(file).parent.name for file in FILES} == with_figures | COMPARISONS.keys()
