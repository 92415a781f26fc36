"""Runs with a SelfTeacher: queues are filled, losses start, and runs are resumed exactly."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmickd.banks import QueueBank
from tests.helpers import toys
from tests.helpers.learning_runs import LEVELS, self_config, stop_message
from tests.helpers.logs import BUILDS
from tests.helpers.ranks import on_ranks, read_rank_config
from tests.helpers.recorders import Callback, bank_states, parameters
from tests.helpers.tiny import build, dump, history, resume, run


def learning_state(runner: Runner) -> dict[str, Any]:
    """Return copies of teacher and queues, and the rows of each queue."""
    banks = toys.banks_of(runner)
    assert all(isinstance(bank, QueueBank) for bank in banks.values())
    teacher = toys.hook_of(runner).distiller.teacher.model.state_dict()
    return dict(
        teacher=copy.deepcopy(teacher),
        banks=bank_states(runner),
        counts={level: int(bank.counts.sum()) for level, bank in banks.items()},
    )


def state_recorder() -> Callback:
    return Callback(after_train_iter=learning_state)


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_queues_are_filled_and_losses_start(scope: str, level: Any) -> None:
    recorder = state_recorder()
    runner = run(self_config(scope, level), recorder)
    for counts in zip(*(state["counts"].values() for state in recorder.results), strict=True):
        assert counts[0] > 0 and list(counts) == sorted(counts)
    suffix = f"_{level[0]}" if isinstance(level, list) else ""
    picd = history(runner, f"loss_picd{suffix}")
    assert picd[0] == 0.0 and all(value > 0 for value in picd[1:])  # the queue is empty at first
    assert all(value > 0 for value in history(runner, "loss_kd")[1:])
    assert not toys.same_state(recorder.results[0]["teacher"], recorder.results[-1]["teacher"])
    names = runner.model.state_dict().keys()
    assert toys.checkpoint_of(runner)["state_dict"].keys() == names


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_a_resumed_run_goes_on_bit_for_bit(scope: str, level: Any) -> None:
    first, second = state_recorder(), state_recorder()
    whole = run(self_config(scope, level, iters=6), first)
    cfg = self_config(scope, level, iters=3)
    run(cfg)
    resumed = resume(cfg, 6, second)
    assert len(second.results) == 3
    assert toys.same_state(second.results[-1], first.results[-1])
    result, expected = (toys.checkpoint_of(runner)["state_dict"] for runner in (resumed, whole))
    assert toys.same_state(result, expected)
    name = "loss_nicd" if isinstance(level, str) else "loss_nicd_region"
    assert history(resumed, name)[-3:] == history(whole, name)[-3:]


def test_weight_zero_is_the_run_without_the_hook() -> None:
    cfg = self_config("mmpretrain", "image", losses=toys.OFF)
    plain = copy.deepcopy(cfg)
    plain.custom_hooks = []
    result, expected = (toys.checkpoint_of(run(c))["state_dict"] for c in (cfg, plain))
    assert toys.same_state(result, expected)


def test_the_checkpoint_is_plain_but_for_one_key() -> None:
    cfg = self_config("mmpretrain", "image")
    runner = run(cfg)
    checkpoint = toys.checkpoint_of(runner)
    assert set(checkpoint["mmickd"]) == {"teacher", "banks"}
    plain = copy.deepcopy(cfg)
    plain.custom_hooks = []
    plain.load_from = (Path(runner.work_dir) / "last_checkpoint").read_text()
    stock = build(plain)
    stock.load_or_resume()
    assert toys.same_state(stock.model.state_dict(), checkpoint["state_dict"])


def test_a_checkpoint_of_another_queue_is_refused() -> None:
    cfg = self_config("mmpretrain", "image", iters=2)
    run(cfg)
    cfg.custom_hooks[0].bank = dict(capacity_per_class=64)
    cfg.resume, cfg.train_cfg.max_iters = True, 4
    assert "image queue" in stop_message(cfg)


def test_an_earlier_checkpoint_teaches_like_an_offline_teacher() -> None:
    toy = toys.classifier()
    path = toys.new_folder() / "past.pth"
    torch.save(toys.checkpoint_of(run(toy.student())), path)

    def config(teacher: dict[str, Any]) -> Config:
        bank = dict(cache_dir=str(toys.new_folder()))
        cfg = self_config("mmpretrain", "image", bank=bank)
        cfg.custom_hooks[0].teacher = teacher
        return cfg

    by_self = run(config(dict(type="SelfTeacher", mode="checkpoint", checkpoint=str(path))))
    by_offline = run(config(dict(cfg=toy.cfg.to_dict(), checkpoint=str(path))))
    assert BUILDS in toys.log_of(by_self)
    for term in ("loss_kd", "loss_picd", "loss_nicd"):
        assert history(by_self, term) == history(by_offline, term), term


def train_rank(path: Path) -> dict[str, Any]:
    recorder = state_recorder()
    runner = run(read_rank_config(path), recorder)
    # the teacher's state has the running statistics too
    return dict(recorder.results[-1], student=parameters(runner.model.module))


def test_queues_and_averages_are_equal_on_all_ranks() -> None:
    cfg = self_config("mmseg", ["pixel", "region"], iters=3)
    first, second = on_ranks(2, train_rank, dump(cfg, toys.new_folder() / "run.py"))
    assert first["counts"] == second["counts"] and first["counts"]["pixel"] > 0
    for part in ("banks", "student", "teacher"):
        assert toys.same_state(first[part], second[part]), part
