"""Public classes and functions have an example, which pytest's ``--doctest-modules`` runs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import mmickd

PUBLIC = ("mmickd.structures", "mmickd.registry", "mmickd.sampling")
"""Modules whose classes and functions are all public."""


def modules() -> list[str]:
    infos = pkgutil.walk_packages(mmickd.__path__, "mmickd.")
    return [m.name for m in infos if ".mim" not in m.name and not m.name.endswith("__main__")]


def public_objects() -> Iterator[tuple[str, Any]]:
    """Yield the classes and functions of ``__all__`` and of :data:`PUBLIC` modules."""
    for name in modules():
        module = importlib.import_module(name)
        for member in getattr(module, "__all__", vars(module) if name in PUBLIC else ()):
            value = getattr(module, member)
            is_defined_here = getattr(value, "__module__", "") == name and member[0] != "_"
            if name in PUBLIC and not is_defined_here:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{name}.{member}", value


@pytest.mark.parametrize(("name", "value"), list(public_objects()))
def test_public_objects_have_an_example(name: str, value: Any) -> None:
    assert ">>> " in (inspect.getdoc(value) or ""), f"{name} has no example in its docstring"


def test_modules_import_without_side_effects() -> None:
    for name in modules():
        assert importlib.import_module(name).__doc__, f"{name} has no docstring"
