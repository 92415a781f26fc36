"""Sphinx configuration of the documentation. ``make docs`` builds it into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmickd.version import __version__

project = "mmickd"
author = "The mmickd contributors"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "examples", "generate"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["faiss"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"mmickd {release}"
html_show_sphinx = False


def plain_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Return a reference to an object without a page as plain text, if the object exists.

    A reference to a name that does not exist stays an error.
    """
    name = node["reftarget"]
    rooms = [module for module in sys.modules if module.split(".")[0] == "mmickd"]
    owner = f"{node.get('py:module')}.{node.get('py:class')}"
    parents = ["", owner, "torch", *rooms]
    return content if any(exists(f"{parent}.{name}".strip(".")) for parent in parents) else None


def exists(name: str) -> bool:
    """True if the dotted name can be imported."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


def setup(app: Any) -> None:
    """Connect the handlers of this site."""
    app.connect("missing-reference", plain_name)
