"""What every test gets: one thread, a bank cache of its own, and no GPU tests without a GPU."""

from __future__ import annotations

import os
import shutil
import tempfile

# Before torch is imported: it reads this once. OMP_NUM_THREADS=2 runs the tests with two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from mmickd.utils.packages import import_yapf
from tests.helpers.logs import Heard, hear


def pytest_configure(config: pytest.Config) -> None:
    import_yapf()  # here first, then in the workers, whose runs would do it side by side
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # never the user's cache: a bank that lies there would hide that building is broken
    config._mmickd_cache = tempfile.mkdtemp(prefix="mmickd-tests-")  # type: ignore[attr-defined]
    os.environ["MMICKD_CACHE_DIR"] = config._mmickd_cache  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(getattr(config, "_mmickd_cache", ""), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # MMICKD_TEST_DEVICE=cpu runs what needs no CUDA of the GPU tests, to check the tests themselves
    if torch.cuda.is_available() or os.environ.get("MMICKD_TEST_DEVICE") == "cpu":
        return
    skip = pytest.mark.skip(reason="needs a CUDA device: `make gpu-test` on a machine with one")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="module")
def no_scope_of_another_module() -> None:
    """Forget mmengine's default scope: a run leaves its own behind, which others would build in."""
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()


@pytest.fixture
def heard() -> Heard:
    """What is said to the log from here on."""
    return hear()
