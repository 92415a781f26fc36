"""Memory, open files and processes do not grow with steps or runs.

2,000 steps, with printed slopes, are part of ``make fault-test``
(``tests/runs/faults/test_memory_slope.py``).
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.logs import BUILDS
from tests.helpers.tiny import run
from tests.runs.faults.memory import LEVELS, Memory, config, memory_of

PAGE_PER_STEP = 4096.0
"""KiB per 1,000 steps of a run that keeps a page of 4 KiB in each step."""


@pytest.mark.parametrize("level", LEVELS)
def test_a_step_keeps_no_memory(level: str) -> None:
    memory = memory_of(config(level, steps=260), warmup=120, samples=7)
    assert len(memory.steps) == 8
    # no further tensor, neither in the graph of a loss nor in a list of diagnostics
    assert len(set(memory.tensors)) == 1, memory.tensors
    assert max(memory.tensor_kib) - min(memory.tensor_kib) < 1.0, memory.tensor_kib
    # 12 logged scalars of 16 bytes are 190 KiB; the bound is wide since the steps are few
    assert memory.slope("heap") < PAGE_PER_STEP / 4, memory.heap


def test_kept_memory_is_measured() -> None:
    memory, tensors = Memory(), []
    for step in range(0, 100, 20):
        memory.take(step)
        tensors += [torch.ones(2**17) for _ in range(20)]  # 512 KiB per step
    assert memory.slope("tensors") == pytest.approx(1000)
    assert memory.slope("tensor_kib") == pytest.approx(512_000, rel=0.01)
    assert memory.slope("resident") > PAGE_PER_STEP
    assert memory.slope("heap") > PAGE_PER_STEP


def config_with_workers() -> Config:
    """Return a run with workers for the bank only; those of training end when torch likes."""
    cfg = toys.classifier().student(train_cfg__max_iters=2, train_cfg__val_interval=2)
    return toys.classifier().distilled(cfg, bank=dict(cache_dir=None, num_workers=2))


def open_files() -> list[str]:
    """Return the open files of this process but logs: mmengine keeps the log of every run open."""
    targets = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the file descriptor of listdir
            continue
        if not target.endswith(".log"):
            targets.append(target.partition(":")[0])  # the number of pipe:[123] does not matter
    return sorted(targets)


def left_by(cfg: Config) -> tuple[list[str], list[str]]:
    """Return open files and child processes after a run."""
    assert BUILDS in toys.log_of(run(cfg))
    gc.collect()  # a runner has circular references
    return open_files(), children()


def children() -> list[str]:
    """Return the child processes."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads /proc")
def test_runs_leave_neither_open_files_nor_processes() -> None:
    before = set(children())  # of other tests, which may end in the meantime
    first, alive = left_by(config_with_workers())  # torch opens files that stay open
    assert set(alive) <= before
    for _ in range(2):
        files, alive = left_by(config_with_workers())
        assert set(alive) <= before
        assert not Counter(files) - Counter(first)
