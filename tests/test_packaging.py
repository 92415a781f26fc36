"""What travels: the sdist has everything, README's line makes a wheel of it, the wheel runs."""

from __future__ import annotations

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
    "CONTRIBUTING.md", "Makefile", "model-index.yml",
]  # fmt: skip


def run(*words: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist, unpacked."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("not a checkout")
    source = tmp_path_factory.mktemp("source")
    # a copy, so that no build folder is left in the checkout
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
    """The wheel of a repository with what the sdist has, by the first line of README's section."""
    install = (ROOT / "README.md").read_text().partition("## Add it to your own config")[2]
    (requirement,) = re.findall(r'^pip install "(mmickd.* @ .*)"$', install, re.MULTILINE)
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


def test_sdist_has_everything(sdist):
    for part in PARTS:
        assert files_below(sdist / part) == files_below(ROOT / part)
    assert all((sdist / file).is_file() for file in FILES)


def test_the_copy_has_all_that_is_tracked():
    """Guards the test above."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = {name.split("/")[0] for name in run("git", "ls-files", cwd=ROOT).split()}
    assert {name for name in tracked if not name.startswith(".")} == {*PARTS, *FILES}


@pytest.mark.parametrize("folder", ["configs", "tools"])
def test_every_config_and_tool_is_carried(wheel, folder):
    """Where ``mim train mmickd CONFIG`` looks for them."""
    carried = {f"mmickd/.mim/{folder}/{name}" for name in files_below(ROOT / folder)}
    assert carried <= set(wheel.namelist())


def test_model_index_is_carried_with_what_it_imports(wheel):
    names = set(wheel.namelist())
    files = re.findall(r"configs/.*yml", wheel.read("mmickd/.mim/model-index.yml").decode())
    assert files and all(f"mmickd/.mim/{file}" in names for file in files)


def test_the_console_command_is_there(wheel):
    text = wheel.read(f"mmickd-{mmickd.__version__}.dist-info/entry_points.txt").decode()
    assert "mmickd = mmickd.__main__:main" in text


@pytest.mark.slow
def test_a_wheel_alone_trains_with_several_processes(wheel, tmp_path):
    """As far as a rank gets without data: it runs the wheel's tool on the wheel's config."""
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


def test_package_is_whole_and_alone(wheel):
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
    assert names == {"torch", "numpy", "safetensors", "filelock"}
    assert any("onedl-mmengine" in line and "onedl" in line for line in lines)
    extras = [
        line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    ]
    wanted = ["onedl", "demo", "faiss", "faiss-gpu", "export", "tune", "test"]
    assert extras == wanted  # each one was tried
