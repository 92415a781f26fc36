"""Wrapped and mixed training sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.recorders import SearchRecorder
from tests.helpers.tiny import history, make_class_folders, make_scenes, run


def wrapped(scope: str, wrapper: str) -> tuple[Config, int]:
    """Return a run on a wrapped training set and the number of images for its bank."""
    level = "image" if scope == "mmpretrain" else "region"
    cfg = toys.toy(scope).distilled(level=level, bank=dict(cache_dir=str(toys.new_folder())))
    dataset = cfg.train_dataloader.dataset
    images = 18 if scope == "mmpretrain" else 6
    other = dataset.copy()
    if "ConcatDataset" in wrapper:
        make = make_class_folders if scope == "mmpretrain" else make_scenes
        other.data_root = str(make(toys.new_folder()))
    *load, crop, flip, pack = dataset.pipeline
    mosaic = dict(type="RandomMosaic", prob=1.0, img_scale=(48, 64))
    repeated, both = dict(type="RepeatDataset", times=2, dataset=dataset), [dataset, other]
    cfg.train_dataloader.dataset, images = {
        "ConcatDataset": (dict(datasets=both), images * 2),
        "RepeatDataset": (dict(times=3, dataset=dataset), images),
        "ClassBalancedDataset": (dict(oversample_thr=0.9, dataset=dataset), images),
        "KFoldDataset": (dict(fold=1, num_splits=3, dataset=dataset), images * 2 // 3),
        "MultiImageMixDataset": (
            dict(dataset=dict(dataset, pipeline=load), pipeline=[mosaic, crop, flip, pack]),
            images,
        ),
        "ConcatDataset of a RepeatDataset": (dict(datasets=[repeated]), images),
        "RepeatDataset of a ConcatDataset": (
            dict(times=2, dataset=dict(type="ConcatDataset", datasets=both)),
            images * 2,
        ),
    }[wrapper]
    cfg.train_dataloader.dataset.type = wrapper.partition(" ")[0]
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


@pytest.mark.parametrize(("scope", "wrapper"), CASES)
def test_the_bank_holds_each_image_once_and_no_query_retrieves_its_image(
    scope: str, wrapper: str
) -> None:
    cfg, images = wrapped(scope, wrapper)
    recorder = SearchRecorder()
    runner = run(cfg, recorder)
    assert runner.iter == len(recorder.searches) == 3
    assert all(v > 0 for v in history(runner, "loss_nicd"))
    (bank,) = toys.cached_banks(Path(cfg.custom_hooks[0].bank.cache_dir)).values()
    ids = bank["ids"].tolist()
    assert len(set(ids)) == images
    rows = list(zip(ids, bank["labels"].tolist(), strict=True))
    assert len(set(rows)) == len(rows), "an image has more than one row of a class"

    for search in recorder.searches:
        bank, query = search.bank, search.query
        labelled = query.labels >= 0
        assert (query.ids[labelled][:, None] == bank.ids).any(dim=1).all(), "ids do not match"
        for context, is_same_class in ((search.positives, True), (search.negatives, False)):
            indices = context.indices.clamp(min=0)
            assert not ((bank.ids[indices] == query.ids[:, None]) & context.mask).any()
            same_class = bank.labels[indices] == query.labels[:, None]
            assert (same_class == is_same_class)[context.mask].all()
            assert context.mask.any()


def test_queries_retrieve_their_image_by_option() -> None:
    recorder = SearchRecorder()
    runner = run(toys.classifier().distilled(exclude_same_id=False), recorder)
    search = recorder.searches[0]
    ids = search.bank.ids[search.positives.indices.clamp(min=0)]
    assert ((ids == search.query.ids[:, None]) & search.positives.mask).any(dim=1).all()
    default = run(toys.classifier().distilled())
    assert history(runner, "picd_valid")[0] > history(default, "picd_valid")[0]


MIXES = {
    "Mixup": dict(augments=[dict(type="Mixup", alpha=1.0)]),
    "CutMix": dict(augments=[dict(type="CutMix", alpha=1.0)]),
    "half of the batches": dict(augments=[dict(type="Mixup", alpha=1.0)], probs=[0.5]),
    "none": None,
}


@pytest.mark.parametrize("name", [name for name in MIXES if name != "none"])
def test_mixed_images_are_distilled_by_kd_alone(name: str) -> None:
    cfg = toys.classifier().distilled()
    cfg.model.train_cfg = MIXES[name]
    cfg.train_cfg.max_iters = 8
    recorder = SearchRecorder()
    runner = run(cfg, recorder)
    assert all(v > 0 for v in history(runner, "loss_kd"))
    context_losses = zip(history(runner, "loss_picd"), history(runner, "loss_nicd"), strict=True)
    mixed = 0
    for data_samples, search, losses in zip(
        recorder.data_samples, recorder.searches, context_losses, strict=True
    ):
        # an image that is mixed with an image of its class keeps its label
        is_pure = [float(sample.gt_score.max()) > 0.999 for sample in data_samples]
        assert (search.query.labels >= 0).tolist() == is_pure
        assert [v > 0 for v in losses] == [any(is_pure)] * 2
        mixed += is_pure.count(False)
    assert 0 < mixed < 8 * 4


@pytest.mark.parametrize("name", MIXES)
def test_mixing_is_a_warning(name: str) -> None:
    cfg = toys.classifier().distilled()
    if MIXES[name]:
        cfg.model.train_cfg = MIXES[name]
    findings = toys.hook_of(run(cfg)).findings
    mixing = [finding.level for finding in findings if finding.code == "mixed_images"]
    assert mixing == ["warning"] * (name != "none")


def in_memory(cfg: Config) -> Config:
    """Keep the images of a run in memory and stack them by the loader, in place."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset = dict(type="mmickd.InMemoryDataset", dataset=loader.dataset)
        loader.collate_fn = dict(type="default_collate")
    return cfg


def test_images_in_memory_change_nothing_but_the_speed() -> None:
    toy = toys.classifier()

    def distilled(cache: Path) -> Config:
        cfg = toy.distilled(bank=dict(cache_dir=str(cache)))
        crop = dict(type="RandomCrop", crop_size=16, padding=4)
        cfg.train_dataloader.dataset.pipeline.insert(1, crop)
        cfg.train_cfg.val_interval = 3
        return cfg

    cache, second_cache = toys.new_folder(), toys.new_folder()
    stock = run(distilled(cache))
    with_cached_bank = run(in_memory(distilled(cache)))
    assert len(toys.cached_banks(cache)) == 1, "the run did not read the bank of the stock run"
    with_built_bank = run(in_memory(distilled(second_cache)))
    assert toys.same_state(toys.cached_banks(second_cache), toys.cached_banks(cache))
    for runner in (with_cached_bank, with_built_bank):
        assert toys.same_state(
            toys.checkpoint_of(runner)["state_dict"], toys.checkpoint_of(stock)["state_dict"]
        )
        for name in ("loss", "loss_nicd", "picd_sim"):
            assert history(runner, name) == history(stock, name)
        accuracies = (
            r.message_hub.get_scalar("val/accuracy/top1").data[0] for r in (runner, stock)
        )
        assert np.array_equal(*accuracies)
