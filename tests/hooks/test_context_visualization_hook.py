"""Pictures of contexts while a run trains."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import TRANSFORMS, VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend
from PIL import Image

from mmickd.building.images import BankImages
from mmickd.hooks import ContextVisualizationHook
from mmickd.registry import RETRIEVERS
from mmickd.retrieval import TorchRetriever
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.ranks import on_ranks, read_rank_config
from tests.helpers.recorders import Callback
from tests.helpers.tiny import history, plain_config_text, run


@RETRIEVERS.register_module()
class StatefulRetriever(TorchRetriever):
    """Retriever whose results depend on the number of searches; deepcopy cannot copy it."""

    def __init__(self) -> None:
        super().__init__()
        self.random, self.lock, self.searches = random.Random(0), threading.Lock(), 0

    def scores(self, queries: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        self.searches += 1
        sign = -1 if self.random.random() < 0.5 and self.searches > 1 else 1
        return sign * super().scores(queries, features)


@TRANSFORMS.register_module()
class ReadsUntilTraining(BaseTransform):
    """Transform that fails as soon as training begins."""

    is_training = False

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.is_training:
            raise OSError("no such disk")
        return results


@VISBACKENDS.register_module()
class RefusingBackend(LocalVisBackend):
    """Backend that rejects every picture."""

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("unknown file extension")


class FailingDisk(Hook):
    """Hook that makes reading fail from the first step on."""

    def before_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        ReadsUntilTraining.is_training = True

    def after_train(self, runner: Runner) -> None:
        ReadsUntilTraining.is_training = False


def trained(cfg: Config) -> tuple[Runner, list[torch.Tensor]]:
    """Train a run; returns the state of torch's generator after each step too."""
    states = Callback(after_train_iter=lambda runner: torch.get_rng_state())
    return run(cfg, states), states.results


def with_pictures(cfg: Config, **options: Any) -> Config:
    """Return the config with a ContextVisualizationHook."""
    cfg.custom_hooks.append(dict(type="mmickd.ContextVisualizationHook", **options))
    return cfg


def pictures(runner: Runner) -> list[str]:
    return pictures_in(runner.cfg)


def pictures_in(cfg: Config) -> list[str]:
    return sorted(file.name for file in Path(cfg.work_dir).rglob("vis_image/*.png"))


@pytest.mark.parametrize(
    ("scope", "level", "retriever"),
    [
        ("mmpretrain", None, None),
        ("mmseg", None, None),
        ("mmseg", ["region", "pixel"], None),
        ("mmpretrain", None, "RandomRetriever"),
        ("mmseg", None, "RandomRetriever"),
        ("mmpretrain", None, "StatefulRetriever"),
    ],
)
def test_a_run_with_pictures_is_the_run_without(scope: str, level: Any, retriever: Any) -> None:
    losses = {"picd": {"num_positives": 2, "loss_weight": 1.0}}
    losses["nicd"] = {"num_negatives": 2, "loss_weight": 1.0}
    toy, options = toys.toy(scope), dict(bank={"cache_dir": None}, level=level, losses=losses)
    if retriever is not None:
        options["retriever"] = dict(type=retriever)
    plain, numbers = trained(toy.distilled(**options))
    drawn, numbers_too = trained(with_pictures(toy.distilled(**options), interval=1, count=2))
    assert pictures(drawn) == [f"context_{n}_{step}.png" for n in range(2) for step in (1, 2, 3)]
    assert not pictures(plain)
    assert toys.same_state(dict(drawn.model.state_dict()), dict(plain.model.state_dict()))
    assert all(map(torch.equal, numbers, numbers_too))
    for name in plain.message_hub.log_scalars:
        if "loss" in name or "_sim" in name:
            name = name.removeprefix("train/")
            assert history(drawn, name) == history(plain, name), name
    kept = toys.checkpoint_of(drawn), toys.checkpoint_of(plain)
    assert kept[0].keys() == kept[1].keys()
    assert list(kept[0]["state_dict"]) == list(kept[1]["state_dict"])


def test_the_queries_stay_and_the_student_s_predictions_change() -> None:
    cfg = with_pictures(toys.classifier().distilled(bank={"cache_dir": None}), interval=1, count=1)
    runner = run(cfg)
    first, last = (
        Image.open(next(Path(runner.work_dir).rglob(f"context_0_{step}.png"))) for step in (1, 3)
    )
    assert first.size == last.size and first.tobytes() != last.tobytes()
    query = (0, 0, 230, 230)
    assert first.crop(query).tobytes() == last.crop(query).tobytes()


def test_it_draws_by_its_interval() -> None:
    cfg = with_pictures(toys.classifier().distilled(bank={"cache_dir": None}), interval=2, count=1)
    assert pictures(run(cfg)) == ["context_0_2.png"]


def test_an_interval_costs_nothing_that_grows_with_the_data_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[int] = []
    counter = Callback(after_train_iter=lambda runner: len(reads))
    info = BankImages.info
    monkeypatch.setattr(
        BankImages, "info", lambda self, index: reads.append(index) or info(self, index)
    )
    toy = toys.classifier()
    cfg = with_pictures(toy.distilled(bank={"cache_dir": None}), interval=1, count=1, neighbours=1)
    run(cfg, counter)
    counts = counter.results
    images = len(list((toy.data / "train").rglob("*.png")))
    assert counts[0] > images
    assert 0 < counts[2] - counts[1] == counts[1] - counts[0] < images / 2


def test_a_backend_that_rejects_pictures_is_logged_once() -> None:
    cfg = toys.classifier().distilled(bank={"cache_dir": None})
    cfg.visualizer["vis_backends"] = [dict(type="RefusingBackend"), dict(type="LocalVisBackend")]
    runner = run(with_pictures(cfg, interval=1, count=2))
    assert runner.iter == 3 and len(pictures(runner)) == 6
    (line,) = (line for line in toys.log_of(runner).splitlines() if "not logged again" in line)
    assert "RefusingBackend" in line and "unknown file extension" in line


def test_an_image_that_cannot_be_read_is_logged_once() -> None:
    cfg = toys.classifier().distilled()
    pipeline = [dict(type="LoadImageFromFile"), dict(type="ReadsUntilTraining")]
    pipeline.append(dict(type="PackInputs"))
    cfg.custom_hooks[0]["bank"] = {"cache_dir": None, "pipeline": pipeline}
    runner = run(with_pictures(cfg, interval=1), FailingDisk())
    assert runner.iter == 3 and not pictures(runner)
    (line,) = (line for line in toys.log_of(runner).splitlines() if "not logged again" in line)
    assert "iteration 1" in line and "no such disk" in line


def test_the_student_is_left_as_it_was() -> None:
    runner = run(with_pictures(toys.classifier().distilled(bank={"cache_dir": None}), interval=1))
    assert not any(m._forward_hooks for m in runner.model.modules())


def test_without_a_frozen_bank_the_run_does_not_start() -> None:
    cfg = toys.classifier().student()
    cfg.custom_hooks = [dict(type="mmickd.ContextVisualizationHook")]
    with pytest.raises(ICKDError, match=r"add dict\(type='mmickd\.ICKDHook'"):
        run(cfg)
    cfg = toys.classifier().student()
    cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=dict(type="SelfTeacher"))]
    with pytest.raises(ICKDError, match="frozen bank"):
        run(with_pictures(cfg))


@pytest.mark.parametrize("shard", [False, True])
def test_rank_0_draws_alone_and_parts_of_a_bank_are_refused(shard: bool) -> None:
    bank = {"cache_dir": None, "shard": shard}
    cfg = with_pictures(toys.classifier().distilled(bank=bank), interval=1, count=2)
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
    try:
        run(read_rank_config(file))
    except ICKDError as error:
        return str(error)
    return "trained"


@pytest.mark.parametrize("name", ["interval", "count", "neighbours"])
def test_options_are_checked(name: str) -> None:
    with pytest.raises(ICKDError, match=f"{name}=0"):
        ContextVisualizationHook(**{name: 0})
