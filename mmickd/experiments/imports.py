"""Imports of every run: a process that has them behind it forks off the runs."""

import gc
import importlib
from contextlib import suppress

PARTS = ("models", "datasets", "engine", "evaluation")

for name in (
    "matplotlib.pyplot",
    "mmengine.runner",
    "yapf.yapflib.yapf_api",
    "mmickd.hooks",
    *(f"{stack}.{part}" for stack in ("mmpretrain", "mmseg") for part in PARTS),
):
    with suppress(Exception):  # the run that needs it says so, with its own message
        importlib.import_module(name)

# The garbage collector need not go through all of this again in every run.
gc.freeze()
