"""What the packages offer has an example that runs (pytest's ``--doctest-modules``)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import mmickd

PUBLIC = ("mmickd.structures", "mmickd.registry", "mmickd.sampling")
"""Modules that are themselves what a package's ``__all__`` is."""


def modules() -> list[str]:
    found = pkgutil.walk_packages(mmickd.__path__, "mmickd.")
    return [m.name for m in found if ".mim" not in m.name and not m.name.endswith("__main__")]


def offered() -> Iterator[tuple[str, Any]]:
    """Public classes and functions: of ``__all__``, or of a module that is public as a whole."""
    for name in modules():
        module = importlib.import_module(name)
        names = getattr(module, "__all__", ())
        if name in PUBLIC:
            own = vars(module).items()
            names = [n for n, v in own if getattr(v, "__module__", "") == name and n[0] != "_"]
        for one in names:
            thing = getattr(module, one)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{name}.{one}", thing


@pytest.mark.parametrize(("name", "thing"), list(offered()))
def test_what_is_offered_has_an_example(name: str, thing: Any) -> None:
    assert ">>> " in (inspect.getdoc(thing) or ""), f"{name} has no example in its docstring"


def test_modules_import_without_side_effects() -> None:
    for name in modules():
        assert importlib.import_module(name).__doc__, f"{name} does not say what it is for"
