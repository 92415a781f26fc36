"""A few kills of each kind; ``test_campaign.py`` has many."""

from __future__ import annotations

from tests.runs.faults.killed_runs import KilledRun, reference
from tests.runs.faults.report import Findings, Kill, table


def test_a_killed_process_is_resumed() -> None:
    findings = Findings()
    kills = [
        Kill("before manifest's file"),  # tensors without a manifest
        Kill("checkpoint", 2),  # the only checkpoint is removed, the next one half written
    ]
    assert KilledRun("classifier", 1, findings).train(kills)
    _check(findings, kills=2)
    assert findings.broken_files >= 2


def test_both_ranks_are_resumed_if_one_is_killed() -> None:
    findings = Findings()
    assert KilledRun("segmenter", 2, findings).train([Kill("training", 3, rank=0, victim=1)])
    _check(findings, kills=1)


def test_unequal_peers_are_resumed_after_a_kill_within_a_step() -> None:
    """All networks have made their fifth step, and one queue of three is filled."""
    model, findings = "classifier's peers", Findings()
    assert KilledRun(model, 1, findings).train([Kill("queue is fed", 3 * 4 + 2)])
    _check(findings, kills=1)
    assert findings.taken == 1  # the checkpoint of the third step
    checkpoint = reference(model, 1).checkpoint
    student, (wider, equal) = checkpoint["state_dict"], checkpoint["mmickd"]["peers"]
    name = "head.fc.weight"
    assert student[name].shape == equal["state_dict"][name].shape
    assert student[name].shape != wider["state_dict"][name].shape
    assert wider["optimizer"]["state"] and len(checkpoint["mmickd"]["banks"]) == 3


def _check(findings: Findings, kills: int) -> None:
    assert not findings.faults, findings.faults
    assert not findings.broken_taken
    assert [record.orphans for record in findings.records] == [[]] * kills
    assert all(record.is_right for record in findings.records), table(findings)
