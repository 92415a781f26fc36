"""Memory, open files and processes do not grow with steps or runs.

2,000 steps, with the slopes printed, are part of ``make fault-test``
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
from tests.helpers.tiny import run
from tests.runs.faults.memory import LEVELS, Memory, config, memory_of

PAGE_PER_STEP = 4096.0
"""KiB per 1,000 steps of a run that keeps one more page of 4 KiB with every step."""


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_kept_from_step_to_step(level: str) -> None:
    memory = memory_of(config(level, steps=260), warmup=120, samples=7)
    assert len(memory.steps) == 8
    # not one tensor more, neither in the graph of a loss nor in a list of diagnostics
    assert len(set(memory.tensors)) == 1, memory.tensors
    assert max(memory.tensor_kib) - min(memory.tensor_kib) < 1.0, memory.tensor_kib
    # 12 logged scalars of 16 bytes are 190 KiB; few steps, so the bound is generous
    assert memory.slope("heap") < PAGE_PER_STEP / 4, memory.heap


def test_what_is_kept_is_seen() -> None:
    memory, kept = Memory(), []
    for step in range(0, 100, 20):
        memory.take(step)
        kept += [torch.ones(2**17) for _ in range(20)]  # 512 KiB per step
    assert memory.slope("tensors") == pytest.approx(1000)
    assert memory.slope("tensor_kib") == pytest.approx(512_000, rel=0.01)
    assert memory.slope("resident") > PAGE_PER_STEP
    assert memory.slope("heap") > PAGE_PER_STEP


def config_with_workers() -> Config:
    """Only the bank is read by processes of its own: those of training end when torch likes."""
    cfg = toys.classifier().student(train_cfg__max_iters=2, train_cfg__val_interval=2)
    return toys.classifier().distilled(cfg, bank=dict(cache_dir=None, num_workers=2))


def open_files() -> list[str]:
    """What this process has open; mmengine keeps the log file of every run."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the one that lists
            continue
        if not target.endswith(".log"):
            found.append(target.partition(":")[0])  # pipe:[123] is as good as pipe:[124]
    return sorted(found)


def left_by(cfg: Config) -> tuple[list[str], list[str]]:
    """Open files and processes of this process after a run."""
    assert "Building the memory bank" in toys.log_of(run(cfg))
    gc.collect()  # a runner is a knot of references
    return open_files(), children()


def children() -> list[str]:
    """Processes of this process."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads /proc")
def test_runs_leave_no_open_file_and_no_process() -> None:
    before = set(children())  # of other tests, which may end meanwhile
    first, alive = left_by(config_with_workers())  # opens what stays open with torch
    assert set(alive) <= before
    for _ in range(2):
        again, alive = left_by(config_with_workers())
        assert set(alive) <= before
        assert not Counter(again) - Counter(first)
