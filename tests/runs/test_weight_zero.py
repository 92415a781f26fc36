"""With every weight 0 a run equals the run without the hook bit for bit."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.logs import BUILDS
from tests.helpers.tiny import build, history, run, scalar_names, train

LEVELS = [("mmpretrain", None), ("mmseg", None), ("mmseg", ["pixel", "region"])]
LATER = {name: dict(loss_weight=dict(value=1.0, begin=2)) for name in ("kd", "picd", "nicd")}


@pytest.fixture(autouse=True)
def _short_checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # workers of an infinite sampler notice the end of the run by a check of torch each 5 s
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    yield
    gc.collect()


class StepRecorder(Hook):
    """Records the batches, and model, optimizer and random states after each step."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.batches: list[list[str]] = []
        self.first_random: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        self.first_random = random_states()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.batches.append([s.metainfo["img_path"] for s in data_batch["data_samples"]])

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        model, optimizer = runner.model.state_dict(), runner.optim_wrapper.state_dict()
        state = dict(model=model, optimizer=optimizer, random=random_states())
        self.states.append(copy.deepcopy(state))


def kd_name(level: Any) -> str:
    """Return the log name of KD: by default it is at the queries of a segmenter's level."""
    return "loss_kd" if level is None else f"loss_kd_{level[0]}"


def random_states() -> dict[str, Any]:
    numpy_state = np.random.get_state()
    return dict(
        python=repr(random.getstate()),
        numpy=(numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]),
        torch=torch.get_rng_state(),
    )


def record(cfg: Any) -> tuple[Runner, StepRecorder]:
    recorder = StepRecorder()
    return run(cfg, recorder), recorder


def task_losses(runner: Runner) -> dict[str, list[float]]:
    if runner.cfg.default_scope == "mmpretrain":
        (name,) = scalar_names(runner, "loss_ce") or ["loss"]
        return {"task": history(runner, name)}
    return {name: history(runner, name) for name in scalar_names(runner, "decode.")}


def assert_same_run(
    first: tuple[Runner, StepRecorder], second: tuple[Runner, StepRecorder], steps: int
) -> None:
    runners, recorders = zip(first, second, strict=True)
    assert recorders[0].batches == recorders[1].batches
    assert len(recorders[0].states) >= steps
    for step in range(steps):
        assert toys.same_state(*(r.states[step] for r in recorders)), f"step {step} differs"
    for name, values in task_losses(runners[0]).items():
        assert values[:steps] == task_losses(runners[1])[name][:steps], name


@pytest.mark.parametrize(("scope", "level"), LEVELS)
@pytest.mark.parametrize("workers", [0, 2])
def test_weight_zero_is_the_run_without_the_hook(scope: str, level: Any, workers: int) -> None:
    toy = toys.toy(scope)
    cfg = toy.student(train_dataloader__num_workers=workers)
    plain = record(cfg)
    off = record(toy.distilled(cfg, level=level, losses=toys.OFF))
    assert_same_run(plain, off, 3)
    assert history(off[0], "loss") == history(plain[0], "loss")
    assert history(off[0], kd_name(level)) == [0, 0, 0]
    assert "MemoryBank" not in toys.log_of(off[0]), "a bank that nothing reads was built"


@pytest.mark.parametrize(("scope", "level"), LEVELS)
@pytest.mark.parametrize("workers", [0, 2])
def test_building_the_bank_changes_no_step(scope: str, level: Any, workers: int) -> None:
    toy = toys.toy(scope)
    cfg = toy.student(train_dataloader__num_workers=workers)
    plain = record(cfg)
    bank = dict(cache_dir=None)
    later = record(toy.distilled(cfg, level=level, losses=LATER, bank=bank))
    assert BUILDS in toys.log_of(later[0])
    assert toys.same_state(plain[1].first_random, later[1].first_random)
    assert_same_run(plain, later, 2)
    assert history(later[0], kd_name(level))[:2] == [0, 0]
    assert history(later[0], kd_name(level))[2] > 0
    # pixels are selected by a hash, not at random
    assert toys.same_state(plain[1].states[2]["random"], later[1].states[2]["random"])
    assert plain[1].batches == later[1].batches


def test_runs_with_the_hook_repeat_bit_for_bit() -> None:
    toy = toys.segmenter()
    cfg = toy.distilled(level=["pixel", "region"])
    assert_same_run(record(cfg), record(cfg), 3)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_training_set_and_its_pipeline_are_not_changed(scope: str) -> None:
    runner = build(toys.toy(scope).distilled(bank=dict(cache_dir=None)))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    dataset = runner.train_dataloader.dataset

    def state() -> tuple[Any, ...]:
        return (id(dataset.pipeline), dataset.test_mode, len(dataset), dataset.get_data_info(1))

    before = state()
    train(runner)
    assert runner.train_dataloader.dataset is dataset
    assert state() == before


def test_another_seed_is_another_run() -> None:
    # the comparisons of this file can fail
    toy = toys.classifier()
    first, second = (history(run(toy.student()), "loss") for _ in range(2))
    assert first == second != history(run(toy.student(randomness__seed=4)), "loss")
