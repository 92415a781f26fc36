"""The page of all configs with their measured results, from the metafiles."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from docs.generate.tables import table

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "ickd": "IC-KD with a trained teacher",
    "ickd_self": "IC-KD without a teacher",
    "ickd_online": "IC-KD with peers",
    "baselines": "Students alone, and other methods",
    "teachers": "Teachers",
    "small": "Small runs for a CPU",
    "demo": "The demo",
}


def configs_page() -> str:
    """Return the page of the configs by folder, and the results by data set."""
    parts = [
        "# Configs and results by data set",
        "Find a config to start from, and what it reached here. Each folder of `configs/` has a "
        "README\nwith the conditions of its figures.",
        "## Results by data set",
        *(f"### {name}\n\n{_results(rows)}" for name, rows in _by_data_set(measured_models())),
        "## All configs",
        *(f"### {title}: `{folder}/`\n\n{_configs(folder)}" for folder, title in FOLDERS.items()),
    ]
    return "\n\n".join(parts) + "\n"


def measured_models() -> list[dict[str, Any]]:
    """Return the entries of all metafiles."""
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    files = [yaml.safe_load((ROOT / path).read_text()) for path in index["Import"]]
    return [model for file in files for model in file["Models"]]


def _by_data_set(models: list[dict[str, Any]]) -> list[tuple[str, list[list[str]]]]:
    rows = defaultdict(list)
    for model in models:
        for result in model["Results"]:
            for metric, value in result["Metrics"].items():
                seeds = str(model["Metadata"]["Seeds"])
                row = [f"`{model['Config']}`", metric, f"{value:g}", seeds]
                rows[result["Dataset"]].append(row)
    return sorted(rows.items(), key=lambda item: item[0].lower())


def _results(rows: list[list[str]]) -> str:
    return table(["config", "metric", "mean", "seeds"], sorted(rows))


def _configs(folder: str) -> str:
    rows = []
    for path in sorted((ROOT / "configs" / folder).glob("*.py")):
        comment = " ".join(line.lstrip("# ") for line in _first_comment(path.read_text()))
        first = re.split(r"(?<=[.:;]) ", comment, maxsplit=1)[0].rstrip(":;")
        rows.append([f"[{path.stem}](../../{path.relative_to(ROOT)})", first.replace("|", "\\|")])
    return table(["config", "what it is"], rows)


def _first_comment(source: str) -> list[str]:
    lines = []
    for line in source.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return lines
