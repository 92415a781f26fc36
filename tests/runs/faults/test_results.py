"""The comparison of the campaign reports every part of a teacher's state that differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.logging import HistoryBuffer

from tests.runs.faults.results import differing_parts

BANK = dict(features=torch.eye(2), counts=torch.tensor([1, 2]))
PEER = dict(
    state_dict=dict(weight=torch.ones(2)),
    optimizer=dict(state={0: dict(step=3.0, mean=torch.zeros(2))}, param_groups=[dict(lr=0.1)]),
)
CHECKPOINT = dict(
    state_dict=dict(weight=torch.ones(2)),
    optimizer=dict(state={}, param_groups=[dict(lr=0.1)]),
    message_hub=dict(log_scalars={"train/peer0.loss": HistoryBuffer([1.0, 0.5], [1, 1])}),
    mmickd=dict(peers=[PEER, copy.deepcopy(PEER)], banks={"peer0.image": BANK}),
)


def test_equal_checkpoints_do_not_differ() -> None:
    assert differing_parts(copy.deepcopy(CHECKPOINT), CHECKPOINT) == []


@pytest.mark.parametrize(
    "path",
    [
        ("peers", 1, "state_dict", "weight"),
        ("peers", 0, "optimizer", "state", 0, "mean"),
        ("peers", 0, "optimizer", "param_groups", 0, "lr"),
        ("banks", "peer0.image", "features"),
        ("banks", "peer0.image", "counts"),
    ],
)
def test_every_part_is_compared(path: tuple[Any, ...]) -> None:
    result: Any = copy.deepcopy(CHECKPOINT)
    parent = result["mmickd"]
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = parent[path[-1]] + 1
    assert differing_parts(result, CHECKPOINT) == [".".join(map(str, ("mmickd", *path)))]


@pytest.mark.parametrize("part", ["mmickd", "peers", "banks"])
def test_a_missing_part_is_reported(part: str) -> None:
    result: Any = copy.deepcopy(CHECKPOINT)
    del (result if part == "mmickd" else result["mmickd"])[part]
    assert differing_parts(result, CHECKPOINT) == ["mmickd"]


def test_losses_of_peers_are_compared() -> None:
    result: Any = copy.deepcopy(CHECKPOINT)
    result["message_hub"]["log_scalars"]["train/peer0.loss"].update(0.5)
    assert differing_parts(result, CHECKPOINT) == ["losses in the checkpoint"]
