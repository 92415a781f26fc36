"""Packaging: the sdist is complete, README's command makes a wheel of it, the wheel runs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mmickd

ROOT = Path(__file__).parents[1]
PARTS = ["mmickd", "configs", "tools", "requirements", "docs", "benchmarks", "results", "tests"]
FILES = [
    "pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md",
    "CITATION.cff", "CONTRIBUTING.md", "Makefile", "model-index.yml",
]  # fmt: skip


def run(*words: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """Unpacked sdist."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("not a checkout")
    source = tmp_path_factory.mktemp("source")
    # a copy, so that the checkout gets no build folder
    for part in PARTS:
        ignore = shutil.ignore_patterns("__pycache__", ".mim")
        shutil.copytree(ROOT / part, source / part, ignore=ignore)
    for file in FILES:
        shutil.copy(ROOT / file, source / file)
    code = "from setuptools.build_meta import build_sdist; build_sdist('out')"
    run(sys.executable, "-c", code, cwd=source)
    with tarfile.open(next((source / "out").glob("mmickd-*.tar.gz"))) as archive:
        archive.extractall(source / "unpacked", filter="data")
    return source / "unpacked" / f"mmickd-{mmickd.__version__}"


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> zipfile.ZipFile:
    """Wheel of a repository with the content of the sdist, made by README's command."""
    readme = (ROOT / "README.md").read_text()
    (requirement,) = re.findall(r'^pip install "(mmickd.* @ .*)"$', readme, re.MULTILINE)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    run("git", "init", "--quiet", cwd=sdist)
    run("git", "add", "--all", "--force", cwd=sdist)
    run("git", *identity, "commit", "--quiet", "--message=all", cwd=sdist)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    out = sdist.parent / "wheel"
    requirement = requirement.replace("$REPOSITORY", f"file://localhost{sdist}")
    run(*pip, "--wheel-dir", str(out), requirement, cwd=sdist.parent)
    return zipfile.ZipFile(next(out.glob("mmickd-*.whl")))


def files_below(folder: Path) -> set[str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    names = {file.relative_to(folder).as_posix() for file in files}
    return {name for name in names if not {"__pycache__", ".mim"} & {*name.split("/")}}


def test_the_sdist_is_complete(sdist):
    for part in PARTS:
        assert files_below(sdist / part) == files_below(ROOT / part)
    assert all((sdist / file).is_file() for file in FILES)


def test_parts_and_files_are_all_that_git_tracks():
    """The test above compares only these."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    top_level = {name.split("/")[0] for name in run("git", "ls-files", cwd=ROOT).split()}
    assert {name for name in top_level if not name.startswith(".")} == {*PARTS, *FILES}


@pytest.mark.parametrize("folder", ["configs", "tools"])
def test_the_wheel_has_every_config_and_tool(wheel, folder):
    """``mim train mmickd CONFIG`` looks for them in .mim."""
    names = {f"mmickd/.mim/{folder}/{name}" for name in files_below(ROOT / folder)}
    assert names <= set(wheel.namelist())


def test_the_wheel_has_the_model_index_and_its_imports(wheel):
    names = set(wheel.namelist())
    files = re.findall(r"configs/.*yml", wheel.read("mmickd/.mim/model-index.yml").decode())
    assert files and all(f"mmickd/.mim/{file}" in names for file in files)


def test_the_wheel_has_the_console_command(wheel):
    text = wheel.read(f"mmickd-{mmickd.__version__}.dist-info/entry_points.txt").decode()
    assert "mmickd = mmickd.__main__:main" in text


@pytest.mark.slow
def test_a_wheel_alone_trains_with_several_processes(wheel, tmp_path):
    """Without data each rank stops, but it ran the wheel's tool on the wheel's config."""
    wheel.extractall(tmp_path / "site")
    words = ("-m", "mmickd", "dist-train", "configs/demo/digits_student.py", "1")
    env = dict(os.environ, PYTHONPATH=str(tmp_path / "site"))
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, env=env
    )
    assert done.returncode != 0
    assert "configs/demo" not in done.stderr and "data/digits" in done.stderr
    assert f"working directory {tmp_path}" in done.stderr
    assert f"{tmp_path}/site/mmickd/.mim/tools/train.py FAILED" in done.stderr


def test_the_wheel_has_the_whole_package_and_nothing_else(wheel):
    names = set(wheel.namelist())
    modules = {f.relative_to(ROOT).as_posix() for f in (ROOT / "mmickd").rglob("*.py")}
    modules = {name for name in modules if "/.mim/" not in name}
    assert modules <= names
    assert {
        "mmickd/py.typed",
        *(f"mmickd/gallery/page.{e}" for e in ("html", "css", "js")),
    } <= names
    assert {name.split("/")[0] for name in names} == {
        "mmickd",
        f"mmickd-{mmickd.__version__}.dist-info",
    }


def test_no_openmmlab_package_is_required(wheel):
    metadata = wheel.read(f"mmickd-{mmickd.__version__}.dist-info/METADATA").decode()
    lines = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    core = [line for line in lines if "extra ==" not in line]
    names = {line.split()[1].split(">")[0] for line in core}
    assert "torch" in names and not {name for name in names if "mm" in name}
    assert any("onedl-mmengine" in line and "onedl" in line for line in lines)
    extras = [
        line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    ]
    names = "onedl demo faiss faiss-gpu export onnx tune slurm docs test"
    assert " ".join(extras) == names  # each one was tried


DISTRIBUTIONS = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "mmcv": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmpretrain": "onedl-mmpretrain",
    "mmseg": "onedl-mmsegmentation",
    "sklearn": "scikit-learn",
    "typing_extensions": "typing-extensions",
}
"""Distributions of modules with another name."""


def declared_requirements() -> tuple[set[str], set[str]]:
    """Return the requirements of every installation, and all requirements with the extras."""
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(requirements: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}

    always = names(project["dependencies"] + extras["onedl"])
    return always, always.union(*(names(extra) for extra in extras.values()))


def imported_distributions(tree: ast.AST, local: set[str]) -> set[str]:
    """Return the distributions that the imports in a syntax tree need."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    roots = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - local
    return {DISTRIBUTIONS.get(root, root) for root in roots}


@pytest.mark.parametrize("folder", ["mmickd", "tools"])
def test_every_import_is_a_declared_requirement(folder):
    """Imports at the top of a file need no extra; imports inside a function may need one."""
    always, with_extras = declared_requirements()
    files = [file for file in (ROOT / folder).rglob("*.py") if ".mim" not in file.parts]
    local = {"mmickd", *(file.stem for file in files)} if folder == "tools" else {"mmickd"}
    assert files
    for file in files:
        tree = ast.parse(file.read_text())
        assert imported_distributions(tree, local) <= with_extras, file
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert imported_distributions(tree, local) <= always, file
