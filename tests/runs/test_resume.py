"""A resumed run equals the uninterrupted run bit for bit if nothing is drawn at random.

mmengine does not save the states of random generators. So neither pipeline nor model may draw at
random (no random flip or crop, no dropout), and the sampler must order the data by its seed:
``InfiniteSampler`` for a loop over iterations, which mmengine advances to the iteration of the
stop; ``DefaultSampler`` for a loop over epochs, which is resumed from the end of an epoch.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.learning_runs import without_randomness
from tests.helpers.logs import BUILDS
from tests.helpers.recorders import Callback
from tests.helpers.tiny import history, run


class Crash(Exception):
    """Ends a run in the middle."""


@dataclass(frozen=True)
class Case:
    """A run that crashes after ``stop`` of ``length`` steps; the last checkpoint is ``saved``."""

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
        """Return the run without anything random."""
        toy = toys.toy(self.scope)
        cfg = toy.distilled(level=self.level, bank=dict(cache_dir=str(cache)), anchors=64)
        if self.epochs:
            cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2, val_interval=1000)
            cfg.log_processor.by_epoch = True
        else:
            cfg.train_cfg.max_iters = self.length
        interval = 1 if self.epochs else self.saved
        cfg.default_hooks.checkpoint.update(interval=interval, by_epoch=self.epochs)
        sampler = cfg.train_dataloader.sampler
        without_randomness(cfg)
        if self.epochs:
            cfg.train_dataloader.sampler = sampler
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
def test_a_resumed_run_equals_the_uninterrupted_one(name: str) -> None:
    case, cache = CASES[name], toys.new_folder()
    whole = run(case.config(cache))
    assert whole.iter == case.length

    cfg = case.config(cache)

    def crash(runner: Runner) -> None:
        if runner.iter + 1 == case.stop:
            raise Crash

    with pytest.raises(Crash):
        run(cfg, Callback(after_train_iter=crash))
    if not case.keep_cache:
        shutil.rmtree(cache)

    cfg.resume = True
    resumed = run(cfg)
    log = toys.log_of(resumed)
    assert (BUILDS in log) is not case.keep_cache
    checkpoint = "epoch_1.pth" if case.epochs else f"iter_{case.saved}.pth"
    assert f"{Path(cfg.work_dir) / checkpoint}" in log

    for term in case.terms:
        expected = history(whole, term)
        assert len(set(expected)) == len(expected) == case.length, term
        assert history(resumed, term)[-(case.length - case.saved) :] == expected[case.saved :], term
    result, expected = toys.checkpoint_of(resumed), toys.checkpoint_of(whole)
    for part in ("state_dict", "optimizer"):
        assert toys.same_state(result[part], expected[part])
