"""The names at the top of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.utils import get_object_from_string

import mmickd
import mmickd.banks
import mmickd.hooks
import mmickd.losses
import mmickd.registry
import mmickd.retrieval
import mmickd.tasks
import mmickd.teachers

ROOMS = [mmickd.hooks, mmickd.losses, mmickd.retrieval, mmickd.teachers]
"""Packages whose names are all public."""


@pytest.mark.parametrize("name", mmickd.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(mmickd, name) is get_object_from_string(f"mmickd.{name}")
    assert name in dir(mmickd)


def test_names_of_the_packages_and_registries_are_public() -> None:
    for room in ROOMS:
        for name in room.__all__:
            assert getattr(mmickd, name) is getattr(room, name)
    parts = [mmickd.registry.LOSSES, mmickd.registry.TEACHERS, mmickd.registry.RETRIEVERS]
    for registry in [*parts, mmickd.registry.TASKS]:
        for name, kind in mmickd.registry.registered(registry).items():
            if kind.__module__.startswith("mmickd."):
                assert name in mmickd.__all__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(mmickd.__file__).read_text())
    (type_checking,) = (
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    lines = [line for line in type_checking.body if isinstance(line, ast.ImportFrom)]
    names = {alias.name: line.module for line in lines for alias in line.names}
    assert {*names, "__version__"} == {*mmickd.__all__}
    for name, module in names.items():
        assert getattr(mmickd, name) is get_object_from_string(f"{module}.{name}")


def test_an_unknown_name_raises_pythons_error() -> None:
    with pytest.raises(ImportError, match="NoSuchHook"):
        exec("from mmickd import NoSuchHook")
    assert not hasattr(mmickd, "NoSuchHook")


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = (
        "import sys, mmickd; assert 'ICKDHook' in dir(mmickd); "
        "assert 'torch' not in sys.modules and 'mmengine' not in sys.modules; "
        "from mmickd import ICKDHook; assert ICKDHook.__module__ == 'mmickd.hooks.ickd_hook'"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
