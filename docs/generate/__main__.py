"""``python -m docs.generate`` writes the pages of docs/reference/ that are made from the code."""

from __future__ import annotations

from pathlib import Path

from docs.generate.api import api_page
from docs.generate.codes import codes_page
from docs.generate.commands import commands_page
from docs.generate.configs import configs_page
from docs.generate.options import losses_page, options_page

FOLDER = Path(__file__).resolve().parents[1] / "reference"
PAGES = {
    "options": options_page,
    "losses": losses_page,
    "commands": commands_page,
    "configs": configs_page,
    "finding-codes": codes_page,
    "api": api_page,
}
MARK = "<!-- made by `python -m docs.generate`: edit the code it is made from -->\n\n"


def pages() -> dict[Path, str]:
    """Return the text of each page by its file."""
    return {FOLDER / f"{name}.md": MARK + make() for name, make in PAGES.items()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
