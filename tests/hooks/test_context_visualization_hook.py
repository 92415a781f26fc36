"""Pictures of contexts while a run trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from mmickd.commands.launching import prepare_launch
from mmickd.hooks import ContextVisualizationHook
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.ranks import on_ranks
from tests.helpers.tiny import build, history, plain_config_text, run


class RandomNumbers(Hook):
    """The next random numbers after each step, which nobody draws."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        self.states.append(torch.get_rng_state())


def trained(cfg: Config) -> tuple[Runner, RandomNumbers]:
    runner, watch = build(cfg), RandomNumbers()
    runner.register_hook(watch)
    with plain_config_text():
        runner.train()
    return runner, watch


def beside(cfg: Config, **options: Any) -> Config:
    """The run with pictures."""
    cfg.custom_hooks.append(dict(type="mmickd.ContextVisualizationHook", **options))
    return cfg


def pictures(runner: Runner) -> list[str]:
    return pictures_in(runner.cfg)


def pictures_in(cfg: Config) -> list[str]:
    return sorted(file.name for file in Path(cfg.work_dir).rglob("vis_image/*.png"))


@pytest.mark.parametrize(
    ("scope", "level"), [("mmpretrain", None), ("mmseg", None), ("mmseg", ["region", "pixel"])]
)
def test_a_run_with_pictures_is_the_run_without(scope: str, level: Any) -> None:
    toy, options = toys.toy(scope), dict(bank={"cache_dir": None}, level=level)
    plain, random = trained(toy.distilled(**options))
    drawn, random_too = trained(beside(toy.distilled(**options), interval=1, count=2))
    assert pictures(drawn) == [f"context_{n}_{step}.png" for n in range(2) for step in (1, 2, 3)]
    assert not pictures(plain)
    assert toys.same_state(dict(drawn.model.state_dict()), dict(plain.model.state_dict()))
    assert all(map(torch.equal, random.states, random_too.states))
    for name in plain.message_hub.log_scalars:
        if "loss" in name or "_sim" in name:
            name = name.removeprefix("train/")
            assert history(drawn, name) == history(plain, name), name
    kept = toys.checkpoint_of(drawn), toys.checkpoint_of(plain)
    assert kept[0].keys() == kept[1].keys()
    assert list(kept[0]["state_dict"]) == list(kept[1]["state_dict"])


def test_the_queries_stay_and_the_student_s_words_change() -> None:
    cfg = beside(toys.classifier().distilled(bank={"cache_dir": None}), interval=1, count=1)
    runner = run(cfg)
    first, last = (
        Image.open(next(Path(runner.work_dir).rglob(f"context_0_{step}.png"))) for step in (1, 3)
    )
    assert first.size == last.size and first.tobytes() != last.tobytes()
    query = (0, 0, 230, 230)
    assert first.crop(query).tobytes() == last.crop(query).tobytes()


def test_it_draws_by_its_interval() -> None:
    cfg = beside(toys.classifier().distilled(bank={"cache_dir": None}), interval=2, count=1)
    assert pictures(run(cfg)) == ["context_0_2.png"]


def test_the_student_is_left_as_it_was() -> None:
    runner = run(beside(toys.classifier().distilled(bank={"cache_dir": None}), interval=1))
    assert not any(m._forward_hooks for m in runner.model.modules())


def test_without_a_frozen_bank_the_run_does_not_begin() -> None:
    cfg = toys.classifier().student()
    cfg.custom_hooks = [dict(type="mmickd.ContextVisualizationHook")]
    with pytest.raises(ICKDError, match="what an ICKDHook retrieves"):
        run(cfg)
    cfg = toys.classifier().student()
    cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=dict(type="SelfTeacher"))]
    with pytest.raises(ICKDError, match="frozen bank"):
        run(beside(cfg))


@pytest.mark.parametrize("shard", [False, True])
def test_rank_0_draws_alone_and_parts_of_a_bank_are_refused(shard: bool) -> None:
    bank = {"cache_dir": None, "shard": shard}
    cfg = beside(toys.classifier().distilled(bank=bank), interval=1, count=2)
    file = toys.new_folder() / "run.py"
    with plain_config_text():
        cfg.dump(file)
    first, second = on_ranks(2, train_rank, file)
    assert first == second
    if shard:
        assert "bank.shard=False" in first and not pictures_in(cfg)
    else:
        assert first == "trained" and len(pictures_in(cfg)) == 6


def train_rank(file: Path) -> str:
    cfg = Config.fromfile(file)
    cfg.launcher = "pytorch"
    prepare_launch(cfg)
    try:
        run(cfg)
    except ICKDError as error:
        return str(error)
    return "trained"


@pytest.mark.parametrize("name", ["interval", "count", "neighbours"])
def test_options_are_checked(name: str) -> None:
    with pytest.raises(ICKDError, match=f"{name}=0"):
        ContextVisualizationHook(**{name: 0})
