"""Schedules of weights in both loops and both units, and in resumed runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.runner import Runner

from mmickd.losses.schedules import WeightSchedule
from tests.helpers import toys
from tests.helpers.logs import BUILDS, READS
from tests.helpers.tiny import classifier_config, history, run

ITERS_PER_EPOCH = 5  # 18 images in batches of 4
SCHEDULES = {
    "warm-up": dict(value=2.0, begin=2, warmup=4),
    "cosine": dict(value=1.5, begin=1, warmup=2, decay="cosine", end=9),
    "linear to the end of the run": dict(value=1.0, decay="linear", end_value=0.25),
    "stop": dict(value=1.0, end=6),
    "epochs": dict(value=2.0, begin=0.4, warmup=0.8, end=1.6, by_epoch=True),
    "epochs to the end": dict(value=1.0, warmup=1, decay="cosine", by_epoch=True),
}


def config(epochs: bool, iters: int) -> Any:
    """Return a run of ``iters`` iterations in which the student does not change (lr 0)."""
    toy = toys.classifier()
    length = iters // ITERS_PER_EPOCH if epochs else iters
    cfg = classifier_config(toy.data, toys.new_folder(), iters=length, epochs=epochs)
    cfg.log_level = "INFO"
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", interval=1000, by_epoch=epochs)
    return cfg


def losses(schedule: Any) -> dict[str, Any]:
    return {name: dict(loss_weight=schedule) for name in ("kd", "picd", "nicd")}


@pytest.fixture(scope="module", params=[False, True], ids=["IterBased", "EpochBased"])
def unscaled(request: pytest.FixtureRequest) -> tuple[bool, Runner]:
    """Return a run with weights of 1."""
    cfg = toys.classifier().distilled(config(request.param, 10), losses=losses(1.0))
    return request.param, run(cfg)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_weight_follows_its_schedule(unscaled: tuple[bool, Runner], name: str) -> None:
    epochs, reference = unscaled
    options = SCHEDULES[name]
    cfg = toys.classifier().distilled(config(epochs, 10), losses=losses(options))
    runner = run(cfg)
    assert runner.iter == 10
    schedule = WeightSchedule(**options)
    unit = ITERS_PER_EPOCH if schedule.by_epoch else 1
    weights = np.array([schedule.at(i / unit, 10 / unit) for i in range(10)])
    assert weights.min() < weights.max()
    # BN's running statistics do not matter: a training step uses those of the batch
    for term in ("loss_kd", "loss_picd", "loss_nicd"):
        expected = weights * np.array(history(reference, term))
        np.testing.assert_allclose(history(runner, term), expected, rtol=1e-4, atol=1e-7)
    terms = ("loss_ce", "loss_kd", "loss_picd", "loss_nicd")
    total = np.sum([history(runner, term) for term in terms], axis=0)
    np.testing.assert_allclose(history(runner, "loss"), total, rtol=1e-5)


@pytest.mark.parametrize("epochs", [False, True], ids=["IterBased", "EpochBased"])
@pytest.mark.parametrize("keep_cache", [True, False], ids=["cached", "cache deleted"])
def test_a_resumed_run_continues_the_schedule(epochs: bool, keep_cache: bool) -> None:
    toy = toys.classifier()
    cache = toys.new_folder()
    options = losses(dict(value=2.0, begin=3, warmup=6, decay="linear", end_value=0.5))
    cfg = toy.distilled(config(epochs, 10), losses=options, bank=dict(cache_dir=str(cache)))
    key = "max_epochs" if epochs else "max_iters"
    cfg.train_cfg[key] = 1 if epochs else 5
    run(cfg)
    before = toys.cached_banks(cache)["image"]
    if not keep_cache:
        shutil.rmtree(cache)
    cfg.train_cfg[key] = 2 if epochs else 10
    cfg.resume = True
    runner = run(cfg)
    assert runner.iter == 10
    log = toys.log_of(runner)
    assert (f"{READS}/" in log) is keep_cache
    assert (BUILDS in log) is not keep_cache
    assert toys.same_state(before, toys.cached_banks(cache)["image"])
    schedule = WeightSchedule(**options["kd"]["loss_weight"])
    weights = [schedule.at(i, 10) for i in range(5, 10)]
    constant = toy.distilled(config(epochs, 10), losses=losses(1.0))
    checkpoint = Path(cfg.work_dir) / ("epoch_1.pth" if epochs else "iter_5.pth")
    constant.merge_from_dict(dict(resume=True, load_from=str(checkpoint)))
    reference = run(constant)
    for term in ("loss_kd", "loss_picd", "loss_nicd"):
        expected = np.array(weights) * np.array(history(reference, term)[-5:])
        np.testing.assert_allclose(history(runner, term)[-5:], expected, rtol=1e-4, atol=1e-7)


def test_the_epoch_of_an_infinite_sampler_is_that_of_the_data_set() -> None:
    cfg = config(False, 10)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    schedule = dict(value=1.0, end=1, by_epoch=True)
    runner = run(toys.classifier().distilled(cfg, losses=losses(schedule)))
    assert [v > 0 for v in history(runner, "loss_kd")] == [True] * 5 + [False] * 5
