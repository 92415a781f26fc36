"""Workarounds for the packages around mmickd."""

from __future__ import annotations

import importlib.util
import pickle
import time
from importlib.metadata import PackageNotFoundError, distribution

from mmengine.config import utils as config_utils

from mmickd.utils.errors import ICKDError


def repair_scopes() -> None:
    """Let ``mmseg::...`` refer to the installed mmseg, whatever its distribution is called.

    mmengine maps the scope to the distribution ``mmsegmentation``. If mmseg was installed by
    ``onedl-mmsegmentation``, mmengine does not find it and may install the other one over it.
    mmengine also accepts the module name in place of the distribution.
    """
    for module, package in config_utils.MODULE2PACKAGE.items():
        if importlib.util.find_spec(module) is None:
            continue
        try:
            distribution(package)
        except PackageNotFoundError:
            config_utils.MODULE2PACKAGE[module] = module


def import_yapf(seconds: float = 10.0) -> None:
    """Import yapf, which mmengine formats configs with, although other processes import it too.

    yapf 0.43 publishes its cache of grammars before it is completely written. A process that
    imports yapf at that moment (another rank of the first run on a machine) reads half a file.

    Args:
        seconds: Time that the other process has to finish writing.

    Raises:
        ICKDError: If the file stays incomplete, since the other process was killed.
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
