"""Puts configs, tools and the model index under ``mmickd/.mim``, where OpenMIM looks for them.

Everything else about the package is in ``pyproject.toml``.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = ("configs", "tools")
INDEX = "model-index.yml"


class BuildWithMim(build_py):
    """``build_py`` that also carries ``configs``, ``tools`` and the model index.

    A wheel gets copies; an editable install gets links, so that edits are seen at once.
    """

    def run(self) -> None:
        """Builds the package, then fills ``mmickd/.mim``."""
        super().run()
        if self.editable_mode:
            self._link(ROOT / "mmickd" / ".mim")
        else:
            self._copy(Path(self.build_lib) / "mmickd" / ".mim")

    @staticmethod
    def _copy(mim: Path) -> None:
        # A stale build folder must not bring back files that were removed since.
        shutil.rmtree(mim, ignore_errors=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.py[cod]")
        for name in CARRIED:
            shutil.copytree(ROOT / name, mim / name, ignore=ignore)
        shutil.copy(ROOT / INDEX, mim / INDEX)

    @staticmethod
    def _link(mim: Path) -> None:
        mim.mkdir(exist_ok=True)
        for name in (*CARRIED, INDEX):
            link = mim / name
            if link.is_symlink() or link.is_file():
                link.unlink()
            elif link.is_dir():
                shutil.rmtree(link)
            link.symlink_to(os.path.relpath(ROOT / name, mim), target_is_directory=name != INDEX)


setup(cmdclass={"build_py": BuildWithMim})
