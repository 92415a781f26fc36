"""With every weight 0 a run is, bit for bit, the run without the hook."""

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
from tests.helpers.tiny import build, history, plain_config_text, run

LEVELS = [("mmpretrain", None), ("mmseg", None), ("mmseg", ["pixel", "region"])]
LATER = {name: dict(loss_weight=dict(value=1.0, begin=2)) for name in ("kd", "picd", "nicd")}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # workers of an endless loader do not hear of its end; torch waits 5 s for each
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    yield
    gc.collect()


class Watch(Hook):
    """Keeps state at moments of a run."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.batches: list[list[str]] = []
        self.random: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        self.random = random_states()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.batches.append([s.metainfo["img_path"] for s in data_batch["data_samples"]])

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        self.states.append(
            copy.deepcopy(
                dict(
                    model=dict(runner.model.state_dict()),
                    optimizer=runner.optim_wrapper.state_dict(),
                    random=random_states(),
                )
            )
        )


def random_states() -> dict[str, Any]:
    numpy_state = np.random.get_state()
    return dict(
        python=repr(random.getstate()),
        numpy=(numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]),
        torch=torch.get_rng_state(),
    )


def watched(cfg: Any) -> tuple[Runner, Watch]:
    runner, watch = build(cfg), Watch()
    runner.register_hook(watch)
    with plain_config_text():
        runner.train()
    return runner, watch


def task_losses(runner: Runner) -> dict[str, list[float]]:
    scalars = runner.message_hub.log_scalars
    name = "loss_ce" if "train/loss_ce" in scalars else "loss"
    found = {"task": history(runner, name)} if runner.cfg.default_scope == "mmpretrain" else {}
    return found | {
        n: history(runner, n.removeprefix("train/"))
        for n in scalars
        if n.startswith("train/decode.")
    }


def assert_same_run(a: tuple[Runner, Watch], b: tuple[Runner, Watch], steps: int) -> None:
    assert a[1].batches == b[1].batches
    assert len(a[1].states) >= steps
    pairs = zip(a[1].states[:steps], b[1].states[:steps], strict=True)
    for step, (one, other) in enumerate(pairs):
        assert toys.same_state(one, other), f"step {step} differs"
    for name, values in task_losses(a[0]).items():
        assert values[:steps] == task_losses(b[0])[name][:steps], name


@pytest.mark.parametrize(("scope", "level"), LEVELS)
@pytest.mark.parametrize("workers", [0, 2])
def test_weight_zero_is_the_run_without_the_hook(scope: str, level: Any, workers: int) -> None:
    toy = toys.toy(scope)
    cfg = toy.student(train_dataloader__num_workers=workers)
    plain = watched(cfg)
    off = watched(toy.distilled(cfg, level=level, losses=toys.OFF))
    assert_same_run(plain, off, 3)
    assert history(off[0], "loss") == history(plain[0], "loss")
    assert history(off[0], "loss_kd") == [0, 0, 0]
    assert "MemoryBank" not in toys.log_of(off[0]), "a bank that nothing reads was built"


@pytest.mark.parametrize(("scope", "level"), LEVELS)
@pytest.mark.parametrize("workers", [0, 2])
def test_building_the_bank_changes_nothing(scope: str, level: Any, workers: int) -> None:
    toy = toys.toy(scope)
    cfg = toy.student(train_dataloader__num_workers=workers)
    plain = watched(cfg)
    bank = dict(cache_dir=None)
    later = watched(toy.distilled(cfg, level=level, losses=LATER, bank=bank))
    assert "Building the memory bank" in toys.log_of(later[0])
    assert toys.same_state(plain[1].random, later[1].random), "before_train used random numbers"
    assert_same_run(plain, later, 2)
    assert history(later[0], "loss_kd")[:2] == [0, 0]
    assert history(later[0], "loss_kd")[2] > 0
    # the pixels to distil are chosen by a hash, not by random numbers
    assert toys.same_state(plain[1].states[2]["random"], later[1].states[2]["random"])
    assert plain[1].batches == later[1].batches


def test_runs_with_the_hook_repeat_bit_for_bit() -> None:
    toy = toys.segmenter()
    cfg = toy.distilled(level=["pixel", "region"])
    assert_same_run(watched(cfg), watched(cfg), 3)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_training_set_and_its_pipeline_stay_as_they_are(scope: str) -> None:
    runner = build(toys.toy(scope).distilled(bank=dict(cache_dir=None)))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    dataset = runner.train_dataloader.dataset

    def state() -> tuple[Any, ...]:
        return (id(dataset.pipeline), dataset.test_mode, len(dataset), dataset.get_data_info(1))

    before = state()
    with plain_config_text():
        runner.train()
    assert runner.train_dataloader.dataset is dataset
    assert state() == before


def test_another_seed_is_another_run() -> None:
    # what the comparisons above would show if they could not fail
    toy = toys.classifier()
    assert history(run(toy.student()), "loss") == history(run(toy.student()), "loss")
    other = run(toy.student(randomness__seed=4))
    assert history(other, "loss") != history(run(toy.student()), "loss")
