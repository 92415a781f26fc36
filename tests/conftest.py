"""One thread and a bank cache for the tests; which tests are slow, and which need a GPU."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# torch reads this once, when it is imported. OMP_NUM_THREADS=2 runs the tests with two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from mmickd.utils.packages import import_yapf
from tests.helpers.logs import LogRecorder, record_log

TESTS = Path(__file__).parent
SLOW_FOLDERS = ("runs", "gpu", "docs", "commands", "tools", "gallery", "configs", "cluster")
"""Folders whose tests train, start processes or open a browser."""


def pytest_configure(config: pytest.Config) -> None:
    import_yapf()  # before the workers start, whose runs would all import it at once
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # never the user's cache: a bank in it would hide that building is broken
    config._mmickd_cache = tempfile.mkdtemp(prefix="mmickd-tests-")  # type: ignore[attr-defined]
    os.environ["MMICKD_CACHE_DIR"] = config._mmickd_cache  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(getattr(config, "_mmickd_cache", ""), ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # MMICKD_TEST_DEVICE=cpu runs the GPU tests on the CPU as far as possible, to check them
    has_device = torch.cuda.is_available() or os.environ.get("MMICKD_TEST_DEVICE") == "cpu"
    skip = pytest.mark.skip(reason="needs a CUDA device: `make gpu-test` on a machine with one")
    for item in items:
        if (
            item.path.is_relative_to(TESTS)
            and item.path.relative_to(TESTS).parts[0] in SLOW_FOLDERS
        ):
            item.add_marker("slow")
        if item.get_closest_marker("gpu") and not has_device:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    # mmengine collects garbage for every data set; the modules need not be visited each time
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_pause_between_epochs() -> Iterator[None]:
    """Remove the 2 seconds that mmengine's iteration-based loop sleeps after each epoch.

    They prevent a deadlock of workers that end slowly; runs in other processes keep them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmengine.runner.loops.time", SimpleNamespace(sleep=lambda seconds: None))
        yield


@pytest.fixture(autouse=True, scope="session")
def format_a_config_once() -> Iterator[None]:
    """Keep texts that yapf formatted: mmengine formats the config of each run four times."""
    from yapf.yapflib import yapf_api

    format_code, texts = yapf_api.FormatCode, {}

    def cached(text: str, **options: Any) -> Any:
        key = text, repr(options)
        if key not in texts:
            texts[key] = format_code(text, **options)
        return texts[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, "FormatCode", cached)
        yield


@pytest.fixture(autouse=True, scope="module")
def no_scope_of_another_module() -> None:
    """Forget mmengine's default scope, which the runs of another module have set."""
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()


@pytest.fixture
def log_recorder() -> LogRecorder:
    """Return a recorder of the messages that are logged from here on."""
    return record_log()
