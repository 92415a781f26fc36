"""A few kills of each kind for the everyday suite; many are in ``test_campaign.py``."""

from __future__ import annotations

import pytest

from tests.runs.faults.lives import Life, reference
from tests.runs.faults.report import Findings, Kill, table


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


@pytest.mark.slow
def test_unequal_peers_are_killed_in_the_middle_of_a_step_and_resumed() -> None:
    """In the fifth step, when all networks have learnt and one queue of three has been fed."""
    model, findings = "classifier's peers", Findings()
    assert Life(model, 1, findings).live([Kill("queue is fed", 3 * 4 + 2)])
    _check(findings, kills=1)
    assert findings.taken == 1  # the checkpoint of the third step
    ended = reference(model, 1).checkpoint
    student, (wider, equal) = ended["state_dict"], ended["mmickd"]["peers"]
    name = "head.fc.weight"
    assert student[name].shape == equal["state_dict"][name].shape
    assert student[name].shape != wider["state_dict"][name].shape
    assert wider["optimizer"]["state"] and len(ended["mmickd"]["banks"]) == 3


def _check(findings: Findings, kills: int) -> None:
    assert not findings.wrong, findings.wrong
    assert not findings.broken_accepted
    assert [record.orphans for record in findings.records] == [[]] * kills
    assert all(record.right for record in findings.records), table(findings)
