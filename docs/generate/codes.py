"""The page of the codes of findings."""

from __future__ import annotations

from itertools import groupby

from docs.generate.tables import table
from mmickd.diagnostics.codes import CODES


def codes_page() -> str:
    """Return the page of all codes, in groups by when they are reported."""
    parts = [
        "# Codes of findings",
        "Look up what a warning of the log or of `mmickd check` means, and what to do. Each code "
        "is\nstable. `check` prints the texts as warnings, and `--json` writes code, level "
        "and text. A training run logs\nfindings once, before its first step. All are warnings, "
        "except `run_cannot_begin` (error) and `other_package` (info).",
    ]
    for when, codes in groupby(CODES, key=lambda code: CODES[code].when):
        rows = [[f"`{code}`", CODES[code].meaning, CODES[code].cure] for code in codes]
        title = f"## {when[0].upper()}{when[1:]}"
        parts.append(f"{title}\n\n{table(['code', 'meaning', 'what to do'], rows)}")
    return "\n\n".join(parts) + "\n"
