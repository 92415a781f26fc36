"""Sphinx configuration of the documentation. ``make docs`` builds it into docs/_build/html."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER / "_ext")]

from mmickd.version import __version__  # noqa: E402

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
    # "generated_pages",
]
exclude_patterns = ["_build", "_ext", "examples"]
source_suffix = {".md": "markdown"}
suppress_warnings = ["myst.xref_missing"] if os.environ.get("MMICKD_DOCS_DRAFT") else []

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
html_static_path = ["_static"]
html_show_sphinx = False
