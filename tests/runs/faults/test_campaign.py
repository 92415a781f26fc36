"""At least 60 kills of real runs, at places and at random times; ``make fault-test``."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.runs.faults.killed_runs import KilledRun
from tests.runs.faults.plans import AT_ANY_TIME, at_any_time, kills_at_places
from tests.runs.faults.report import Findings, table
from tests.runs.faults.runs import LEARNING


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_killed_runs_resume_as_if_undisturbed(capfd: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or time.time_ns() % 10**6)
    rng, findings, start = random.Random(seed), Findings(), time.monotonic()
    with capfd.disabled():
        print(f"\nseed {seed} (set FAULTS_SEED to run it again)", flush=True)
        for model, ranks, kills in kills_at_places(rng):
            KilledRun(model, ranks, findings).train(kills)
        for (model, ranks), count in AT_ANY_TIME.items():
            goal = len(findings.records) + count
            while len(findings.records) < goal and not findings.faults:
                kills = [at_any_time(rng, ranks) for _ in range(goal - len(findings.records))]
                KilledRun(model, ranks, findings).train(kills)
        print(table(findings), f"in {time.monotonic() - start:.0f} s", flush=True)
    assert not findings.faults
    assert not findings.broken_taken
    assert not [orphan for record in findings.records for orphan in record.orphans]
    assert len(findings.records) >= 60
    assert sum(record.model in LEARNING for record in findings.records) >= 20
    assert all(record.is_right for record in findings.records)
    # the places were reached, and the log was parsed
    assert findings.broken_files >= 10
    assert findings.taken >= 20
