"""Teacher-free runs: the student's average teaches it, queues are fed, a resumed run goes on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.banks import QueueBank
from tests.helpers import toys
from tests.helpers.learning_runs import LEVELS, stopped
from tests.helpers.learning_runs import self_taught as config
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny import build, history, plain_config_text, run


class Watch(Hook):
    """What teacher and queues are after each step."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.counts: list[dict[str, int]] = []

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        distiller = toys.hook_of(runner).distiller
        banks = toys.banks_of(runner)
        assert all(isinstance(bank, QueueBank) for bank in banks.values())
        self.counts.append({level: int(bank.counts.sum()) for level, bank in banks.items()})
        self.states.append(copy.deepcopy(dict(
            teacher=dict(distiller.teacher.model.state_dict()),
            banks={level: dict(bank.state_dict()) for level, bank in banks.items()},
        )))  # fmt: skip


def watched(cfg: Config) -> tuple[Runner, Watch]:
    runner, watch = build(cfg), Watch()
    runner.register_hook(watch)
    with plain_config_text():
        runner.train()
    return runner, watch


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_queues_fill_and_losses_come(scope: str, level: Any) -> None:
    runner, watch = watched(config(scope, level))
    for counts in zip(*(c.values() for c in watch.counts), strict=True):
        assert counts[0] > 0 and list(counts) == sorted(counts)
    suffix = f"_{level[0]}" if isinstance(level, list) else ""
    picd = history(runner, f"loss_picd{suffix}")
    assert picd[0] == 0.0 and all(value > 0 for value in picd[1:])  # nothing in the queue at first
    assert all(value > 0 for value in history(runner, "loss_kd")[1:])
    first, last = watch.states[0]["teacher"], watch.states[-1]["teacher"]
    assert not toys.same_state(first, last)
    names = runner.model.state_dict().keys()
    assert toys.checkpoint_of(runner)["state_dict"].keys() == names


@pytest.mark.parametrize(("scope", "level"), LEVELS)
def test_a_resumed_run_goes_on_bit_for_bit(scope: str, level: Any) -> None:
    whole, intact = watched(config(scope, level, iters=6))
    cfg = config(scope, level, iters=3)
    run(cfg)
    cfg.train_cfg.max_iters = 6
    cfg.resume = True
    resumed, watch = watched(cfg)
    assert len(watch.states) == 3
    assert toys.same_state(watch.states[-1], intact.states[-1])
    ended, wanted = toys.checkpoint_of(resumed), toys.checkpoint_of(whole)
    assert toys.same_state(dict(ended["state_dict"]), dict(wanted["state_dict"]))
    assert (
        history(resumed, "loss_nicd" if isinstance(level, str) else "loss_nicd_region")[-3:]
        == (history(whole, "loss_nicd" if isinstance(level, str) else "loss_nicd_region")[-3:])
    )


def test_weight_zero_is_the_run_without_the_hook() -> None:
    cfg = config("mmpretrain", "image", losses=toys.OFF)
    plain = copy.deepcopy(cfg)
    plain.custom_hooks = []
    with_hook, without = toys.checkpoint_of(run(cfg)), toys.checkpoint_of(run(plain))
    assert toys.same_state(dict(with_hook["state_dict"]), dict(without["state_dict"]))


def test_the_checkpoint_is_plain_beside_one_key() -> None:
    cfg = config("mmpretrain", "image")
    runner = run(cfg)
    path = (Path(runner.work_dir) / "last_checkpoint").read_text()
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    assert set(checkpoint["mmickd"]) == {"teacher", "banks"}
    plain = copy.deepcopy(cfg)
    plain.custom_hooks, plain.load_from = [], path
    stock = build(plain)
    stock.load_or_resume()
    assert toys.same_state(dict(stock.model.state_dict()), dict(checkpoint["state_dict"]))


def test_resuming_without_a_teacher_in_the_checkpoint() -> None:
    cfg = config("mmpretrain", "image", iters=2)
    hooks, cfg.custom_hooks = cfg.custom_hooks, []
    run(cfg)
    cfg.custom_hooks, cfg.resume, cfg.train_cfg.max_iters = hooks, True, 4
    assert "teacher.resume='fresh'" in stopped(cfg)
    cfg.custom_hooks[0].teacher.resume = "fresh"
    assert "starts anew" in toys.log_of(run(cfg))


def test_resuming_with_another_queue_is_refused() -> None:
    cfg = config("mmpretrain", "image", iters=2)
    run(cfg)
    cfg.custom_hooks[0].bank = dict(capacity_per_class=64)
    cfg.resume, cfg.train_cfg.max_iters = True, 4
    assert "holds another image queue" in stopped(cfg)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(bank=dict(capacity_per_class=8)), "losses.picd.num_positives=16"),
        (dict(query="bank"), "query='bank' needs a frozen bank"),
        (dict(bank=dict(shard=True)), "bank.shard=True"),
        (dict(retriever=dict(type="FaissRetriever")), "FaissRetriever searches frozen banks"),
    ],
)
def test_what_needs_a_frozen_bank_is_refused(options: dict[str, Any], words: str) -> None:
    assert words in stopped(config("mmpretrain", "image", **options))


def test_an_earlier_checkpoint_teaches_like_an_offline_teacher() -> None:
    toy = toys.classifier()
    past = toys.checkpoint_of(run(toy.student()))
    path = toys.new_folder() / "past.pth"
    torch.save(past, path)
    options = dict(bank=dict(cache_dir=str(toys.new_folder())))
    cfg = config(
        "mmpretrain", "image", teacher=dict(mode="checkpoint", checkpoint=str(path)), **options
    )
    offline = copy.deepcopy(cfg)
    offline.custom_hooks[0].teacher = dict(cfg=toy.cfg.to_dict(), checkpoint=str(path))
    by_self, by_offline = run(cfg), run(offline)
    assert "Building the memory bank" in toys.log_of(by_self)
    for term in ("loss_kd", "loss_picd", "loss_nicd"):
        assert history(by_self, term) == history(by_offline, term), term


def on_rank(path: str) -> dict[str, Any]:
    from mmickd.commands.launching import prepare_launch

    cfg = Config.fromfile(path)
    cfg.launcher = "pytorch"
    prepare_launch(cfg)
    runner, watch = watched(cfg)
    student = {name: p.detach() for name, p in runner.model.module.named_parameters()}
    teacher = watch.states[-1]["teacher"]  # running statistics too
    banks = watch.states[-1]["banks"]
    return dict(banks=banks, counts=watch.counts, student=student, teacher=teacher)


def test_queues_and_averages_are_equal_on_all_ranks() -> None:
    path = toys.new_folder() / "run.py"
    cfg = config("mmseg", ["pixel", "region"], iters=3)
    with plain_config_text():
        cfg.dump(path)
    first, second = on_ranks(2, on_rank, str(path))
    assert first["counts"] == second["counts"] and first["counts"][0]["pixel"] > 0
    for part in ("banks", "student", "teacher"):
        assert toys.same_state(first[part], second[part]), part
