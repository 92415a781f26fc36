"""A few kills of each kind for the everyday suite; many are in ``test_campaign.py``."""

from __future__ import annotations

import pytest

from tests.faults.lives import Life
from tests.faults.report import Findings, Kill, table


@pytest.mark.slow
def test_one_process_is_killed_and_resumed() -> None:
    findings = Findings()
    kills = [
        Kill("before manifest's file"),  # tensors without a manifest
        Kill("checkpoint", 2),  # the only checkpoint is gone, the next one half written
    ]
    assert Life("classifier", 1, findings).live(kills)
    _check(findings, kills=2)
    assert findings.broken_met >= 2


@pytest.mark.slow
def test_one_rank_of_two_is_killed_and_both_are_resumed() -> None:
    findings = Findings()
    assert Life("segmenter", 2, findings).live([Kill("training", 3, rank=0, victim=1)])
    _check(findings, kills=1)


def _check(findings: Findings, kills: int) -> None:
    assert not findings.wrong, findings.wrong
    assert not findings.broken_accepted
    assert [record.orphans for record in findings.records] == [[]] * kills
    assert all(record.right for record in findings.records), table(findings)
