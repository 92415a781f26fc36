"""Checkpoints from which a run with peers, or with a SelfTeacher, cannot be resumed."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.learning_runs import online_config, self_config, stop_message, wider
from tests.helpers.tiny import run


def without_hook() -> Config:
    cfg = online_config("mmpretrain", "image", 2)
    cfg.custom_hooks = []
    return cfg


def peers(iters: int = 2, **options: Any) -> Config:
    return online_config("mmpretrain", "image", iters, **options)


def past(iters: int = 2, **teacher: Any) -> Config:
    return self_config("mmpretrain", "image", iters, teacher=teacher)


def frozen() -> Config:
    return toys.classifier().distilled(toys.classifier().student(train_cfg__max_iters=2))


CHECKPOINTS: dict[str, tuple[Callable[[], Config], Callable[..., Config]]] = {
    "plain; peers now": (without_hook, peers),
    "plain; SelfTeacher now": (without_hook, past),
    "offline teacher; peers now": (frozen, peers),
    "SelfTeacher; peers now": (past, peers),
    "peers; SelfTeacher now": (peers, past),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_of_another_teacher(case: str) -> None:
    before, now = CHECKPOINTS[case]
    first = run(before())

    def resumed(**options: Any) -> Config:
        cfg = now(iters=3, **options)
        cfg.work_dir, cfg.resume = first.work_dir, True
        return cfg

    assert "teacher.resume='fresh'" in stop_message(resumed())
    fresh = run(resumed(resume="fresh"))
    assert fresh.iter == 3 and "mmickd" in toys.checkpoint_of(fresh)


ADAM = dict(optimizer=dict(type="Adam", lr=0.1))
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "more peers": (dict(num_peers=3), "2 peers.* 3"),
    "fewer peers": (dict(num_peers=1), "2 peers.* 1"),
    "another architecture": (dict(cfg=[None, "wider"]), r"peer1 .*of shape"),
    "another optimizer": (dict(num_peers=2, optim_wrapper=ADAM), r"peer0 .*SGD"),
    "another scheduler": (
        dict(num_peers=2, param_scheduler=dict(type="MultiStepLR", milestones=[2])),
        r"peer0 .*PolyLR",
    ),
    "no scheduler": (dict(num_peers=2, param_scheduler=[]), r"peer0 .*PolyLR"),
}


@pytest.fixture(scope="module")
def two_peers() -> str:
    """Return the folder of a run with two peers."""
    return run(peers(num_peers=2)).work_dir


@pytest.mark.parametrize("case", CHANGES)
def test_a_checkpoint_of_other_peers(case: str, two_peers: str) -> None:
    """It is refused with teacher.resume='fresh' too, which is for a checkpoint without peers."""
    options, words = copy.deepcopy(CHANGES[case])
    if "cfg" in options:
        options["cfg"][1] = wider("mmpretrain")
    cfg = peers(iters=3, resume="fresh", **options)
    cfg.work_dir, cfg.resume = two_peers, True
    assert re.search(words, stop_message(cfg))


def test_a_checkpoint_of_other_queues(two_peers: str) -> None:
    cfg = peers(iters=3, num_peers=2)
    cfg.custom_hooks[0].bank = dict(capacity_per_class=64)
    cfg.work_dir, cfg.resume = two_peers, True
    assert "student.image queue" in stop_message(cfg)
