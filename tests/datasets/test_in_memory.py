"""Images in memory: the same samples as from the stock pipeline, bit for bit."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmickd.datasets import InMemoryDataset
from mmickd.utils.errors import ICKDError

LOAD, PACK = dict(type="LoadImageFromFile"), dict(type="PackInputs")
PAD4 = dict(type="RandomCrop", crop_size=16, padding=4)
FLIP = dict(type="RandomFlip", prob=0.5, direction="horizontal")


@pytest.fixture(autouse=True)
def scope() -> None:
    init_default_scope("mmpretrain")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures")
    for name in ("ant", "bee"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(5):
            picture = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            Image.fromarray(picture[:, :16]).save(root / "train" / name / f"{number}.png")
    return root


def config(root: Path, *transforms: dict[str, Any]) -> dict[str, Any]:
    return dict(
        type="CustomDataset",
        data_root=str(root),
        data_prefix="train",
        pipeline=[LOAD, *transforms, PACK],
    )


def both(root: Path, *transforms: dict[str, Any]) -> tuple[Any, InMemoryDataset]:
    """Return the stock data set, and the same in memory."""
    cfg = config(root, *transforms)
    wrapped = DATASETS.build(dict(type="mmickd.InMemoryDataset", dataset=copy.deepcopy(cfg)))
    assert isinstance(wrapped, InMemoryDataset)
    return DATASETS.build(cfg), wrapped


def batches(data: Any, seed: int = 0, **loader: Any) -> list[dict[str, Any]]:
    np.random.seed(seed)
    options = dict(batch_size=4, collate_fn=default_collate) | loader
    return list(DataLoader(data, generator=torch.Generator(), **options))


def assert_same(stock: list[dict[str, Any]], wrapped: list[dict[str, Any]]) -> None:
    assert len(stock) == len(wrapped) > 0
    for left, right in zip(stock, wrapped, strict=True):
        assert left.keys() == right.keys()
        for image, other in zip(left["inputs"], right["inputs"], strict=True):
            assert image.dtype == other.dtype == torch.uint8
            assert torch.equal(image, other)
        for sample, other in zip(left["data_samples"], right["data_samples"], strict=True):
            assert type(sample) is type(other)
            assert torch.equal(sample.gt_label, other.gt_label)
            assert sample.metainfo == other.metainfo
            assert set(sample.keys()) == set(other.keys())


EVERY = ["vertical", "diagonal", "horizontal"]
PIPELINES = {
    "nothing random": [],
    "resized": [dict(type="Resize", scale=8)],
    "edge and centre": [
        dict(type="ResizeEdge", scale=12, edge="short"),
        dict(type="CenterCrop", crop_size=8),
    ],
    "padded crop": [PAD4],
    "padded crop and flip": [PAD4, FLIP],
    "flip alone": [FLIP],
    "small crop, other sides": [dict(type="RandomCrop", crop_size=(6, 11)), FLIP],
    "uneven padding, in colour": [
        dict(type="RandomCrop", crop_size=16, padding=(1, 2, 3, 0), pad_val=(7, 8, 9)),
        dict(type="RandomFlip", prob=0.7, direction=["horizontal", "vertical"]),
    ],
    "reflected": [
        dict(type="RandomCrop", crop_size=(20, 12), pad_if_needed=True, padding_mode="reflect"),
        dict(type="RandomFlip", prob=[0.2, 0.3, 0.4], direction=EVERY),
    ],
    "crop as large as the picture": [dict(type="RandomCrop", crop_size=16), FLIP],
    "crop larger than the picture": [dict(type="RandomCrop", crop_size=24), FLIP],
    "after a resize": [
        dict(type="Resize", scale=8),
        dict(type="RandomCrop", crop_size=8, padding=1),
        FLIP,
    ],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_batches_are_those_of_the_stock_pipeline_bit_for_bit(root: Path, name: str) -> None:
    stock, wrapped = both(root, *PIPELINES[name])
    for seed in range(3):
        assert_same(batches(stock, seed), batches(wrapped, seed))
        # later random numbers are the same, too
        state = np.random.get_state()[1:3]
        batches(stock, seed)
        expected = np.random.get_state()[1:3]
        assert np.array_equal(state[0], expected[0]) and state[1] == expected[1]


def test_lists_of_images_and_single_samples_are_the_same(root: Path) -> None:
    stock, wrapped = both(root, PAD4, FLIP)
    collate = dict(collate_fn=pseudo_collate)
    assert_same(batches(stock, **collate), batches(wrapped, **collate))
    cfg = config(root, PAD4, FLIP)
    repeated = [
        DATASETS.build(dict(type="RepeatDataset", times=2, dataset=copy.deepcopy(dataset)))
        for dataset in (cfg, dict(type="mmickd.InMemoryDataset", dataset=cfg))
    ]
    assert repeated[1].metainfo["classes"] == ("ant", "bee")
    assert_same(*map(batches, repeated))


def test_samples_of_workers_are_the_same(root: Path) -> None:
    """Each worker has its seed, as mmengine sets it."""
    stock, wrapped = both(root, PAD4, FLIP)
    loader = dict(num_workers=2, worker_init_fn=np.random.seed)
    assert_same(batches(stock, **loader), batches(wrapped, **loader))


def test_offsets_and_flips_are_uniform(root: Path) -> None:
    _, wrapped = both(root, PAD4, FLIP)
    picture = np.arange(1, 257).astype(np.uint8).reshape(16, 16)
    wrapped.full_init()
    wrapped._images[0, :, 4:20, 4:20] = torch.from_numpy(picture)
    np.random.seed(0)
    count = 16_200
    samples = wrapped.__getitems__([0] * count)
    counts: dict[tuple[int, int, bool], int] = {}
    for sample in samples:
        flipped = sample["data_samples"].flip
        image = sample["inputs"][0]
        image = image.flip(-1) if flipped else image
        y, x = divmod(int(image[8, 8]) - 1, 16)
        counts[y, x, flipped] = counts.get((y, x, flipped), 0) + 1
    # 9 x 9 offsets and 2 flips: 100 each, with a standard deviation of 10
    assert set(counts) == set(product(range(4, 13), range(4, 13), (True, False)))
    assert min(counts.values()) > 50
    assert max(counts.values()) < 150
    chi2 = sum((n - 100) ** 2 / 100 for n in counts.values())
    assert 100 < chi2 < 240  # 161 degrees of freedom, standard deviation 18


def test_files_are_read_once(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "train" / "ant" / "0.png"
    for name in ("ant", "bee"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "train" / name / "0.png")
    _, wrapped = both(tmp_path)
    wrapped.full_init()
    file.unlink()
    wrapped.full_init()
    assert wrapped[0]["inputs"].eq(9).all()


def test_changing_samples_does_not_change_later_ones(root: Path) -> None:
    stock, wrapped = both(root)
    for batch in batches(wrapped):
        batch["inputs"].zero_()
        for sample in batch["data_samples"]:
            sample.set_gt_label(1).set_gt_score(torch.zeros(2)).set_metainfo(dict(flip=True))
    assert_same(batches(stock), batches(wrapped))


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([dict(type="RandomResizedCrop", scale=8)], "from RandomResizedCrop, PackInputs on"),
        ([FLIP, PAD4], "from RandomCrop, PackInputs on"),
        ([PAD4, dict(type="Resize", scale=8)], "from Resize, PackInputs on"),
        ([dict(type="PackInputs")], "from PackInputs, PackInputs on"),
    ],
)
def test_other_transforms_are_rejected_by_name(root: Path, transforms: list, message: str) -> None:
    with pytest.raises(ICKDError, match=message):
        both(root, *transforms)


def test_a_pipeline_without_packing_is_rejected(root: Path) -> None:
    cfg = config(root) | dict(pipeline=[LOAD])
    with pytest.raises(ICKDError, match="an end without PackInputs"):
        InMemoryDataset(cfg)


def test_wrappers_go_around_it(root: Path) -> None:
    inner = dict(type="RepeatDataset", times=2, dataset=config(root))
    with pytest.raises(ICKDError, match="RepeatDataset has none"):
        InMemoryDataset(inner)


def test_bad_images_are_named(root: Path, tmp_path: Path) -> None:
    for name, size in (("ant", 4), ("bee", 5)):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (size, 4)).save(tmp_path / "train" / name / "0.png")
    _, wrapped = both(tmp_path)
    with pytest.raises(ICKDError, match=r"bee/0\.png .*\(3, 4, 5\).*first image \(3, 4, 4\)"):
        wrapped.full_init()
    (tmp_path / "train" / "bee" / "0.png").write_text("no picture")
    with pytest.raises(ICKDError, match=r"bee/0\.png cannot be read into memory"):
        both(tmp_path)[1].full_init()


def test_a_missing_device_is_rejected(root: Path) -> None:
    for device in ("cuda:77", "nonsense"):
        with pytest.raises(ICKDError, match="cannot be used here"):
            InMemoryDataset(config(root), device=device)


def test_workers_cannot_use_another_device(root: Path) -> None:
    wrapped = InMemoryDataset(config(root), device="meta")
    with pytest.raises(ICKDError, match="set num_workers=0"):
        batches(wrapped, num_workers=1)
