"""At least 60 kills of real runs, at places and at random times; ``make fault-test``."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.runs.faults.lives import Life
from tests.runs.faults.plans import AT_ANY_TIME, at_any_time, lives
from tests.runs.faults.report import Findings, table
from tests.runs.faults.runs import LEARNING


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_whatever_is_killed_is_resumed_right(capfd: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or time.time_ns() % 10**6)
    rng, findings, begin = random.Random(seed), Findings(), time.monotonic()
    with capfd.disabled():
        print(f"\nseed {seed} (set FAULTS_SEED to run it again)", flush=True)
        for model, ranks, kills in lives(rng):
            Life(model, ranks, findings).live(kills)
        for (model, ranks), count in AT_ANY_TIME.items():
            goal = len(findings.records) + count
            while len(findings.records) < goal and not findings.wrong:
                kills = [at_any_time(rng, ranks) for _ in range(goal - len(findings.records))]
                Life(model, ranks, findings).live(kills)
        print(table(findings), f"in {time.monotonic() - begin:.0f} s", flush=True)
    assert not findings.wrong
    assert not findings.broken_accepted
    assert not [orphan for record in findings.records for orphan in record.orphans]
    assert len(findings.records) >= 60
    assert sum(record.model in LEARNING for record in findings.records) >= 20
    assert all(record.right for record in findings.records)
    # else the places were not hit, or the log is not read right
    assert findings.broken_met >= 10
    assert findings.taken >= 20
