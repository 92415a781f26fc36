"""Wrapped and mixed training sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.tiny import (
    build,
    history,
    make_class_folders,
    make_scenes,
    plain_config_text,
    run,
)


def wrapped(scope: str, kind: str) -> tuple[Config, int]:
    """A run on a wrapped training set, and the images that its bank should be of."""
    toy = toys.toy(scope)
    cache = toys.new_folder()
    cfg = toy.distilled(
        level="image" if scope == "mmpretrain" else "region", bank=dict(cache_dir=str(cache))
    )
    one = cfg.train_dataloader.dataset
    images = 18 if scope == "mmpretrain" else 6
    if kind == "ConcatDataset":
        make = make_class_folders if scope == "mmpretrain" else make_scenes
        other = one.copy()
        other.data_root = str(make(toys.new_folder()))
        cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[one, other])
        images *= 2
    elif kind == "RepeatDataset":
        cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=3, dataset=one)
    elif kind == "ClassBalancedDataset":
        cfg.train_dataloader.dataset = dict(
            type="ClassBalancedDataset", oversample_thr=0.9, dataset=one
        )
    elif kind == "KFoldDataset":
        cfg.train_dataloader.dataset = dict(type="KFoldDataset", fold=1, num_splits=3, dataset=one)
        images = images * 2 // 3
    elif kind == "MultiImageMixDataset":
        *load, crop, flip, pack = one.pipeline
        one.pipeline = load
        mosaic = dict(type="RandomMosaic", prob=1.0, img_scale=(48, 64))
        cfg.train_dataloader.dataset = dict(
            type="MultiImageMixDataset", dataset=one, pipeline=[mosaic, crop, flip, pack]
        )
    elif kind == "ConcatDataset of a RepeatDataset":
        inner = dict(type="RepeatDataset", times=2, dataset=one)
        cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[inner])
    elif kind == "RepeatDataset of a ConcatDataset":
        other = one.copy()
        other.data_root = str(make_class_folders(toys.new_folder()))
        inner = dict(type="ConcatDataset", datasets=[one, other])
        cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=inner)
        images *= 2
    return cfg, images


CASES = [
    ("mmpretrain", "ConcatDataset"),
    ("mmpretrain", "RepeatDataset"),
    ("mmpretrain", "ClassBalancedDataset"),
    ("mmpretrain", "KFoldDataset"),
    ("mmseg", "ConcatDataset"),
    ("mmseg", "RepeatDataset"),
    ("mmseg", "MultiImageMixDataset"),
    ("mmseg", "ConcatDataset of a RepeatDataset"),
    ("mmpretrain", "RepeatDataset of a ConcatDataset"),
]


@pytest.mark.parametrize(("scope", "kind"), CASES)
def test_bank_holds_each_image_once(scope: str, kind: str) -> None:
    cfg, images = wrapped(scope, kind)
    runner = run(cfg)
    assert runner.iter == 3
    assert all(v > 0 for v in history(runner, "loss_nicd"))
    (bank,) = toys.cached_banks(Path(cfg.custom_hooks[0].bank.cache_dir)).values()
    ids = bank["ids"].tolist()
    assert len(set(ids)) == images
    pairs = list(zip(ids, bank["labels"].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs), "an image gives more than one row of a class"


class Queries(Hook):
    """Looks at what the images of a batch find in the bank."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not self.seen:
            retriever = toys.hook_of(runner).distiller.teacher.memory._retriever
            search = retriever.search

            def spy(bank: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
                found = search(bank, query, *args, **kwargs)
                self.seen.append((bank, query, found))
                return found

            retriever.search = spy
            self.seen.append(None)


@pytest.mark.parametrize(("scope", "kind"), CASES)
def test_no_image_finds_itself(scope: str, kind: str) -> None:
    cfg, _ = wrapped(scope, kind)
    runner, queries = build(cfg), Queries()
    runner.register_hook(queries)
    with plain_config_text():
        runner.train()
    assert len(queries.seen) == 4
    own_rows = 0
    for bank, query, contexts in queries.seen[1:]:
        labelled = query.labels >= 0
        assert (query.ids[labelled][:, None] == bank.ids).any(dim=1).all(), "ids do not meet"
        for context in contexts:
            found = bank.ids[context.indices.clamp(min=0)]
            own_rows += int(((found == query.ids[:, None]) & context.mask).sum())
        positives, negatives = contexts
        for context, same in ((positives, True), (negatives, False)):
            labels = bank.labels[context.indices.clamp(min=0)]
            assert ((labels == query.labels[:, None]) == same)[context.mask].all()
            assert context.mask.any()
    assert own_rows == 0


def test_own_image_is_found_by_option() -> None:
    cfg = toys.classifier().distilled(exclude_same_id=False)
    runner, queries = build(cfg), Queries()
    runner.register_hook(queries)
    with plain_config_text():
        runner.train()
    bank, query, (positives, _) = queries.seen[1]
    found = bank.ids[positives.indices.clamp(min=0)]
    assert ((found == query.ids[:, None]) & positives.mask).any(dim=1).all()
    assert (
        history(runner, "picd_valid")[0]
        > history(run(toys.classifier().distilled()), "picd_valid")[0]
    )


MIXES = {
    "Mixup": dict(augments=[dict(type="Mixup", alpha=1.0)]),
    "CutMix": dict(augments=[dict(type="CutMix", alpha=1.0)]),
    "now and then": dict(augments=[dict(type="Mixup", alpha=1.0)], probs=[0.5]),
    "never": None,
}


class Mixtures(Queries):
    """Also the scores of each batch, as the student's loss gets them."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[list[float]] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not self.seen:
            distiller = toys.hook_of(runner).distiller
            step = distiller.step

            def spy(batch: Any, *args: Any) -> Any:
                self.scores.append([float(s.gt_score.max()) for s in batch.data_samples])
                return step(batch, *args)

            distiller.step = spy
        super().before_train_iter(runner, batch_idx, data_batch)


@pytest.mark.parametrize("name", [name for name in MIXES if name != "never"])
def test_mixed_images_are_distilled_by_kd_alone(name: str) -> None:
    cfg = toys.classifier().distilled()
    cfg.model.train_cfg = MIXES[name]
    cfg.train_cfg.max_iters = 8
    runner, mixtures = build(cfg), Mixtures()
    runner.register_hook(mixtures)
    with plain_config_text():
        runner.train()
    assert all(v > 0 for v in history(runner, "loss_kd"))
    in_context = zip(history(runner, "loss_picd"), history(runner, "loss_nicd"), strict=True)
    mixed = 0
    for scores, (_, query, _), losses in zip(
        mixtures.scores, mixtures.seen[1:], in_context, strict=True
    ):
        # an image that is mixed with one of its own class still has a label
        pure = [score > 0.999 for score in scores]
        assert (query.labels >= 0).tolist() == pure
        assert [v > 0 for v in losses] == [any(pure)] * 2
        mixed += pure.count(False)
    assert 0 < mixed < 8 * 4


@pytest.mark.parametrize("name", MIXES)
def test_mixing_is_said_once(name: str) -> None:
    cfg = toys.classifier().distilled()
    if MIXES[name]:
        cfg.model.train_cfg = MIXES[name]
    log = toys.log_of(run(cfg))
    said = [line for line in log.splitlines() if "in-context terms to those" in line]
    assert len(said) == (name != "never")
    assert all("WARNING" in line for line in said)


def in_memory(cfg: Config) -> Config:
    """The same run with its pictures in memory, stacked by the loader."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset = dict(type="mmickd.InMemoryDataset", dataset=loader.dataset)
        loader.collate_fn = dict(type="default_collate")
    return cfg


def test_pictures_in_memory_change_nothing_but_the_speed() -> None:
    toy = toys.classifier()

    def distilled(cache: Path) -> Config:
        cfg = toy.distilled(bank=dict(cache_dir=str(cache)))
        crop = dict(type="RandomCrop", crop_size=16, padding=4)
        cfg.train_dataloader.dataset.pipeline.insert(1, crop)
        cfg.train_cfg.val_interval = 3
        return cfg

    shared, own = toys.new_folder(), toys.new_folder()
    stock = run(distilled(shared))
    wrapped = run(in_memory(distilled(shared)))
    assert len(toys.cached_banks(shared)) == 1, "the bank of the stock run was not found"
    alone = run(in_memory(distilled(own)))
    assert toys.same_state(toys.cached_banks(own), toys.cached_banks(shared))
    for other in (wrapped, alone):
        assert toys.same_state(
            toys.checkpoint_of(other)["state_dict"], toys.checkpoint_of(stock)["state_dict"]
        )
        for name in ("loss", "loss_nicd", "picd_sim"):
            assert history(other, name) == history(stock, name)
        accuracies = (
            runner.message_hub.get_scalar("val/accuracy/top1").data[0] for runner in (other, stock)
        )
        assert np.array_equal(*accuracies)
