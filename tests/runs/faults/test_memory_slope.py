"""Memory does not grow over many steps; ``make fault-test`` prints the slopes."""

from __future__ import annotations

import pytest

from tests.runs.faults.memory import LEVELS, TEACHERS, config, memory_of

STEPS = {None: 600, "frozen": 2000, "peers": 600, "average": 600}
"""Steps by teacher. The slopes of 600 steps are as exact as those of 2,000; peers take long."""
LEAK = 320.0
"""KiB per 1,000 steps on the heap, without the histories of logged scalars; half a KiB per step is
more."""
RESIDENT = 4096.0
"""KiB per 1,000 steps: a page in each step. Less is no leak, since the heap gets fragmented."""


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("level", LEVELS)
def test_memory_is_flat(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    memory = {
        teacher: memory_of(config(level, steps, teacher), warmup=steps // 5, samples=40)
        for teacher, steps in STEPS.items()
    }
    with capfd.disabled():
        for teacher, samples in memory.items():
            print(f"\n{level}, {teacher or 'no'} teacher: {samples}", flush=True)
    for teacher in TEACHERS:
        distilled = memory[teacher]
        assert len(set(distilled.tensors)) == 1, (teacher, distilled.tensors)
        assert distilled.leak < LEAK, (teacher, distilled.heap)
        assert distilled.slope("resident") < RESIDENT, (teacher, distilled.resident)
