"""2,000 steps do not take more memory than 400; ``make fault-test`` prints the slopes."""

from __future__ import annotations

import pytest

from tests.faults.memory import LEVELS, config, memory_of

STEPS = 2000
HEAP = 512.0
"""KiB per 1,000 steps. What grows by design is mmengine's history of logged scalars, 16 bytes of
each per step: 190 KiB for 12 of them. Half a KiB that a step keeps by mistake is seen."""
RESIDENT = 4096.0
"""KiB per 1,000 steps: a page of every step. Less is no leak: the heap gets fragmented."""


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("level", LEVELS)
def test_memory_is_flat(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    memory = {
        name: memory_of(config(level, STEPS, distil), warmup=STEPS // 5, samples=40)
        for name, distil in (("without the hook", False), ("distilled", True))
    }
    with capfd.disabled():
        for name, one in memory.items():
            print(f"\n{level}, {name}: {one}", flush=True)
    distilled = memory["distilled"]
    assert len(set(distilled.tensors)) == 1, distilled.tensors
    assert distilled.slope("heap") < HEAP, distilled.heap
    assert distilled.slope("resident") < RESIDENT, distilled.resident
