"""Repairs of the stack around mmickd, and references to its packages."""

from __future__ import annotations

import importlib.util
import pickle
import time
from importlib.metadata import PackageNotFoundError, distribution

from mmengine.config import utils as config_utils

from mmickd.utils.errors import ICKDError


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


def import_yapf(seconds: float = 10.0) -> None:
    """Import yapf, by which mmengine writes configs, while other processes do so too.

    yapf 0.43 moves its cache of grammars into place before all of it is written. Another process
    that imports it in this moment, as the ranks of a first run on a machine do, reads half a file.

    Args:
        seconds: how long another process is given to write it.

    Raises:
        ICKDError: if the file stays as it is, since that process was killed.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            importlib.import_module("yapf.yapflib.yapf_api")
            return
        except (EOFError, pickle.UnpicklingError) as error:
            if time.monotonic() > deadline:
                raise ICKDError(
                    "yapf cannot read its own cache, which a process left half written: remove the "
                    "folder YAPF in the caches of this user (~/.cache/YAPF unless XDG_CACHE_HOME "
                    "is set)."
                ) from error
        time.sleep(0.1)


def is_installed(module: str) -> bool:
    """Whether ``module`` can be imported."""
    return importlib.util.find_spec(module) is not None
