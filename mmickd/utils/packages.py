"""Repairs of the stack around mmickd, and references to its packages."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution

from mmengine.config import utils as config_utils


def repair_scopes() -> None:
    """Let ``mmseg::...`` mean the installed mmseg, whatever its distribution is called.

    mmengine maps the scope to the distribution ``mmsegmentation``; where mmseg comes from
    ``onedl-mmsegmentation`` it would not find it, or even install the other one over it. A module
    name is accepted in place of the distribution.
    """
    for module, package in config_utils.MODULE2PACKAGE.items():
        if importlib.util.find_spec(module) is None:
            continue
        try:
            distribution(package)
        except PackageNotFoundError:
            config_utils.MODULE2PACKAGE[module] = module


def is_installed(module: str) -> bool:
    """Whether ``module`` can be imported."""
    return importlib.util.find_spec(module) is not None
