"""Copies configs, tools and the model index to ``mmickd/.mim``, where OpenMIM looks for them.

All other settings of the package are in ``pyproject.toml``.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
FOLDERS = ("configs", "tools")
INDEX = "model-index.yml"


class BuildWithMim(build_py):
    """``build_py`` that includes ``configs``, ``tools`` and the model index.

    A wheel contains copies; an editable install has links, so that edits take effect at once.
    """

    def run(self) -> None:
        """Build the package, then fill ``mmickd/.mim``."""
        super().run()
        if self.editable_mode:
            self._link(ROOT / "mmickd" / ".mim")
        else:
            self._copy(Path(self.build_lib) / "mmickd" / ".mim")

    @staticmethod
    def _copy(mim: Path) -> None:
        # without files of an earlier build that were removed since
        shutil.rmtree(mim, ignore_errors=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.py[cod]")
        for name in FOLDERS:
            shutil.copytree(ROOT / name, mim / name, ignore=ignore)
        shutil.copy(ROOT / INDEX, mim / INDEX)

    @staticmethod
    def _link(mim: Path) -> None:
        mim.mkdir(exist_ok=True)
        for name in (*FOLDERS, INDEX):
            link = mim / name
            if link.is_symlink() or link.is_file():
                link.unlink()
            elif link.is_dir():
                shutil.rmtree(link)
            link.symlink_to(os.path.relpath(ROOT / name, mim), target_is_directory=name != INDEX)


setup(cmdclass={"build_py": BuildWithMim})
