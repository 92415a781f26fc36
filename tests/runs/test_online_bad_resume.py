"""Checkpoints that a run with peers, or with the student's past, cannot go on from."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.learning_runs import online, self_taught, stopped, wider
from tests.helpers.tiny import run


def without_hook() -> Config:
    cfg = online("mmpretrain", "image", 2)
    cfg.custom_hooks = []
    return cfg


def peers(iters: int = 2, **options: Any) -> Config:
    return online("mmpretrain", "image", iters, **options)


def past(iters: int = 2, **teacher: Any) -> Config:
    return self_taught("mmpretrain", "image", iters, teacher=teacher)


def frozen() -> Config:
    return toys.classifier().distilled(toys.classifier().student(train_cfg__max_iters=2))


CHECKPOINTS: dict[str, tuple[Callable[[], Config], Callable[..., Config]]] = {
    "plain, now peers": (without_hook, peers),
    "of a frozen teacher, now peers": (frozen, peers),
    "of the student's past, now peers": (past, peers),
    "of peers, now the student's past": (peers, past),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_without_such_a_teacher(case: str) -> None:
    before, now = CHECKPOINTS[case]
    first = run(before())

    def resumed(**options: Any) -> Config:
        cfg = now(iters=3, **options)
        cfg.work_dir, cfg.resume = first.work_dir, True
        return cfg

    assert "teacher.resume='fresh'" in stopped(resumed())
    fresh = run(resumed(resume="fresh"))
    assert fresh.iter == 3 and "starts anew" in toys.log_of(fresh)


ADAM = dict(optimizer=dict(type="Adam", lr=0.1))
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "more peers": (dict(num_peers=3), "holds 2 peers, the config has 3"),
    "fewer peers": (dict(num_peers=1), "holds 2 peers, the config has 1"),
    "another architecture": (dict(cfg=[None, "wider"]), r"another peer1 .*of shape"),
    "another optimizer": (dict(num_peers=2, optim_wrapper=ADAM), r"another peer0 .*SGD"),
    "another scheduler": (
        dict(num_peers=2, param_scheduler=dict(type="MultiStepLR", milestones=[2])),
        r"another peer0 .*PolyLR",
    ),
    "no scheduler": (dict(num_peers=2, param_scheduler=[]), r"another peer0 .*PolyLR"),
}


@pytest.fixture(scope="module")
def two_peers() -> str:
    """Folder of a run with two peers."""
    return run(peers(num_peers=2)).work_dir


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_other_peers(case: str, two_peers: str) -> None:
    """Not by teacher.resume='fresh' either: that is for a checkpoint without peers."""
    options, words = copy.deepcopy(OTHERS[case])
    if "cfg" in options:
        options["cfg"][1] = wider("mmpretrain")
    cfg = peers(iters=3, resume="fresh", **options)
    cfg.work_dir, cfg.resume = two_peers, True
    message = stopped(cfg)
    assert re.search(words, message) and "Resume with the config" in message


def test_a_checkpoint_of_other_queues(two_peers: str) -> None:
    cfg = peers(iters=3, num_peers=2)
    cfg.custom_hooks[0].bank = dict(capacity_per_class=64)
    cfg.work_dir, cfg.resume = two_peers, True
    assert "holds another student.image queue" in stopped(cfg)
