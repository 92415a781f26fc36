"""The imports of a training run, for :mod:`tests.helpers.forkserver`."""

import gc
import importlib
from contextlib import suppress

PARTS = ("models", "datasets", "engine", "evaluation")

for name in (
    "matplotlib.pyplot",
    "mmengine.runner",
    "yapf.yapflib.yapf_api",
    "mmickd.hooks",
    *(f"{package}.{part}" for package in ("mmpretrain", "mmseg") for part in PARTS),
):
    with suppress(Exception):  # a run that needs the module fails with its own message
        importlib.import_module(name)

# The garbage collector need not visit these objects in every fork.
gc.freeze()
