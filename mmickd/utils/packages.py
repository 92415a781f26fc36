"""Workarounds for problems of other packages."""

from __future__ import annotations

import importlib.util
import pickle
import time
from importlib.metadata import PackageNotFoundError, distribution

from mmengine.config import utils as config_utils

from mmickd.utils.errors import ICKDError


def repair_scopes() -> None:
    """Let mmengine resolve ``mmseg::...`` and ``mmickd::...`` in configs.

    ``mmseg::...`` refers to the installed mmseg, for any name of its distribution.

    mmengine maps the scope to the distribution ``mmsegmentation``. If mmseg was installed by
    ``onedl-mmsegmentation``, mmengine does not find it and may overwrite it by ``mmsegmentation``.
    So the scope is mapped to the module name, which mmengine accepts too. The scope ``mmickd`` is
    unknown to mmengine; with it a config anywhere inherits a recipe of the installed package.
    """
    config_utils.MODULE2PACKAGE.setdefault("mmickd", "mmickd")
    for module, package in config_utils.MODULE2PACKAGE.items():
        if importlib.util.find_spec(module) is None:
            continue
        try:
            distribution(package)
        except PackageNotFoundError:
            config_utils.MODULE2PACKAGE[module] = module


def import_yapf(seconds: float = 10.0) -> None:
    """Import yapf, by which mmengine formats configs; wait if its cache is incomplete.

    yapf 0.43 makes its cache of grammars visible before it is completely written. A process that
    imports yapf at this moment (another rank of the first run on a machine) reads half a file.

    Args:
        seconds: Maximum time to wait for the process that writes the cache.

    Raises:
        ICKDError: If the cache stays incomplete, as the process that wrote it was killed.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            importlib.import_module("yapf.yapflib.yapf_api")
            return
        except (EOFError, pickle.UnpicklingError) as error:
            if time.monotonic() > deadline:
                raise ICKDError(
                    "yapf cannot read its cache, which another process left incomplete. Remove the "
                    "folder ~/.cache/YAPF ($XDG_CACHE_HOME/YAPF if that variable is set)."
                ) from error
        time.sleep(0.1)


def is_installed(module: str) -> bool:
    """True if ``module`` can be imported."""
    return importlib.util.find_spec(module) is not None
