"""The wheel carries what ``mim train mmickd CONFIG`` looks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mmickd

ROOT = Path(__file__).parents[1]
PARTS = ["mmickd", "configs", "tools", "requirements"]
FILES = ["pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    if not (ROOT / "setup.py").is_file():
        pytest.skip("not a checkout")
    source = tmp_path_factory.mktemp("source")
    # a copy, so that no build folder is left in the checkout
    for part in PARTS:
        ignore = shutil.ignore_patterns("__pycache__", ".mim")
        shutil.copytree(ROOT / part, source / part, ignore=ignore)
    for file in FILES:
        shutil.copy(ROOT / file, source / file)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w"]
    done = subprocess.run([*command, "out", "."], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return zipfile.ZipFile(next((source / "out").glob("mmickd-*.whl")))


def carried(folder: str) -> set[str]:
    files = (file for file in (ROOT / folder).rglob("*") if file.is_file())
    return {
        f"mmickd/.mim/{file.relative_to(ROOT).as_posix()}"
        for file in files
        if "__pycache__" not in file.parts
    }


@pytest.mark.parametrize("folder", ["configs", "tools"])
def test_every_config_and_tool_is_carried(wheel, folder):
    assert carried(folder) and carried(folder) <= set(wheel.namelist())


def test_package_is_whole_and_alone(wheel):
    names = set(wheel.namelist())
    modules = {f.relative_to(ROOT).as_posix() for f in (ROOT / "mmickd").rglob("*.py")}
    modules = {name for name in modules if "/.mim/" not in name}
    assert modules <= names
    assert "mmickd/py.typed" in names
    assert {name.split("/")[0] for name in names} == {
        "mmickd",
        f"mmickd-{mmickd.__version__}.dist-info",
    }


def test_no_openmmlab_package_is_required(wheel):
    metadata = wheel.read(f"mmickd-{mmickd.__version__}.dist-info/METADATA").decode()
    lines = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    core = [line for line in lines if "extra ==" not in line]
    names = {line.split()[1].split(">")[0] for line in core}
    assert names == {"torch", "numpy", "safetensors", "filelock"}
    assert any("onedl-mmengine" in line and "onedl" in line for line in lines)
    extras = [
        line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    ]
    assert extras == ["onedl", "demo", "faiss", "test"]  # each is one that was tried
