"""A run that was stopped and resumed is the run that was never stopped, where nothing is random.

The condition: mmengine does not save the states of random generators. So the two agree if neither
the pipeline nor the model draws at random (no random flip or crop, no dropout), and the sampler
orders the data by its seed: ``InfiniteSampler`` for a loop over iterations, which mmengine winds on
to the place of the stop, and ``DefaultSampler`` for a loop over epochs, stopped anywhere and
resumed from the end of an epoch. Then losses and parameters are equal bit for bit.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.tiny import build, history, plain_config_text, run

RANDOM = ("RandomFlip", "RandomCrop")


class Stopped(Exception):
    """What ends a run in the middle."""


class StopHook(Hook):
    """Ends the run after ``iteration`` steps, as a crash would: nothing is tidied up."""

    priority = "LOWEST"

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == self.iteration:
            raise Stopped


@dataclass(frozen=True)
class Case:
    """One kind of run; ``saved`` is the step of the last checkpoint before the stop."""

    scope: str
    level: Any
    epochs: bool
    keep_cache: bool
    length: int
    saved: int
    stop: int

    @property
    def terms(self) -> list[str]:
        suffixes = [f"_{name}" for name in self.level] if isinstance(self.level, list) else [""]
        in_context = [f"{t}{s}" for s in suffixes for t in ("loss_picd", "loss_nicd")]
        task = "loss_ce" if self.scope == "mmpretrain" else "decode.loss_ce"
        return ["loss", task, "loss_kd", *in_context]

    def config(self, cache: Path) -> Config:
        """The run, without anything random."""
        toy = toys.toy(self.scope)
        cfg = toy.distilled(level=self.level, bank=dict(cache_dir=str(cache)), anchors=64)
        if self.epochs:
            cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2, val_interval=1000)
            cfg.log_processor.by_epoch = True
        else:
            cfg.train_cfg.max_iters = self.length
            cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
        interval = 1 if self.epochs else self.saved
        cfg.default_hooks.checkpoint.update(interval=interval, by_epoch=self.epochs)
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset.pipeline = [t for t in pipeline if t["type"] not in RANDOM]
        if self.scope == "mmseg":
            cfg.model.decode_head.dropout_ratio = 0.0
        return cfg


# 18 images in batches of 4: 5 steps are an epoch; 6 images in batches of 2: 3 steps
CASES = {
    "image, iterations, cached": Case("mmpretrain", "image", False, True, 9, saved=4, stop=6),
    "image, epochs, rebuilt": Case("mmpretrain", "image", True, False, 10, saved=5, stop=7),
    "pixel, epochs, cached": Case("mmseg", "pixel", True, True, 6, saved=3, stop=5),
    "pixel and region, iterations, rebuilt": Case(
        "mmseg", ["pixel", "region"], False, False, 8, saved=4, stop=6
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_resumed_run_is_the_uninterrupted_one(name: str) -> None:
    case, cache = CASES[name], toys.new_folder()
    whole = run(case.config(cache))
    assert whole.iter == case.length

    cfg = case.config(cache)
    first = build(cfg)
    first.register_hook(StopHook(case.stop))
    with plain_config_text(), pytest.raises(Stopped):
        first.train()
    if not case.keep_cache:
        shutil.rmtree(cache)

    again = copy.deepcopy(cfg)
    again.resume = True
    resumed = run(again)
    log = toys.log_of(resumed)
    assert ("Building the memory bank" in log) is not case.keep_cache
    checkpoint = "epoch_1.pth" if case.epochs else f"iter_{case.saved}.pth"
    assert f"latest checkpoint {Path(cfg.work_dir) / checkpoint}" in log

    for term in case.terms:
        wanted = history(whole, term)
        assert len(set(wanted)) == len(wanted) == case.length, term
        assert history(resumed, term)[-(case.length - case.saved) :] == wanted[case.saved :], term
    ended, intact = toys.checkpoint_of(resumed), toys.checkpoint_of(whole)
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(dict(ended[part]), dict(intact[part]))
