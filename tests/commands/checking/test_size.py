"""The size of a bank, estimated from a small one, against the bank itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.banks import MemoryBank
from mmickd.commands.checking.collect import collect
from mmickd.commands.checking.size import BankSize, complete_share, sample_size
from mmickd.commands.open_run import open_run
from mmickd.diagnostics.bank_report import report_of
from mmickd.structures import Samples
from tests.helpers import toys
from tests.helpers.tiny import make_class_folders, make_scenes

TOLERANCE = 0.25
"""Relative error of the rows of all classes, estimated from half of the scenes."""


def whole_banks(cfg: Config) -> dict[str, Any]:
    with open_run(cfg) as run:
        return dict(run.distiller.teacher.memories["teacher"].banks)


def sizes(cfg: Config, images: int) -> dict[str, Any]:
    """Return what ``check`` writes about the bank, by level."""
    return collect(cfg, images).to_json()["bank"]["levels"]


@pytest.mark.parametrize(
    "bank", [{}, {"capacity_per_class": 4, "dtype": "fp32"}, {"max_images": 14}]
)
def test_images_are_counted(bank: dict[str, Any], tmp_path) -> None:
    data = make_class_folders(tmp_path, per_class=6)
    for number in (1, 2, 3):  # classes of different size
        (data / f"train/c0/{number}.png").unlink()
    cfg = toys.classifier().distilled(bank=bank)
    cfg.train_dataloader.dataset.data_root = str(data)
    (bank,) = whole_banks(cfg).values()
    size = sizes(cfg, images=9)["image"]
    assert size["exact"]
    assert size["rows_per_class"] == bank.offsets.diff().tolist()
    assert (size["rows"], size["bytes"]) == (len(bank), bank.nbytes)


@pytest.mark.parametrize("options", [{"pixels_per_image": 5}, {"capacity_per_class": 20}])
def test_pixels_are_estimated(options: dict[str, Any], tmp_path) -> None:
    cfg = toys.segmenter().distilled(level=["pixel", "region"], bank=options)
    cfg.train_dataloader.dataset.data_root = str(make_scenes(tmp_path, count=12))
    banks = whole_banks(cfg)
    exact, estimated = (sizes(cfg, images) for images in (12, 6))
    for level, bank in banks.items():
        assert exact[level]["exact"] and not estimated[level]["exact"]
        assert exact[level]["rows_per_class"] == bank.offsets.diff().tolist()
        assert exact[level]["bytes"] == bank.nbytes
        rows = estimated[level]["rows"]
        assert rows == pytest.approx(len(bank), rel=TOLERANCE)
        if "capacity_per_class" in options and level == "pixel":
            assert rows == len(bank) == 60  # every class is full


@pytest.mark.parametrize("positives", [10, 30])
@pytest.mark.parametrize("exclude", [True, False])
def test_rows_of_the_same_image_are_no_positives(positives: int, exclude: bool) -> None:
    losses = {"picd": {"num_positives": positives}}
    cfg = toys.segmenter().distilled(losses=losses, exclude_same_id=exclude)
    (bank,) = whole_banks(cfg).values()
    logged = report_of(bank, positives, exclude).complete
    assert sizes(cfg, images=1000)["pixel"]["complete"] == logged
    assert logged is not None and (logged < 0.9) == (exclude and positives == 30)


IMAGES, PER_IMAGE = 40, (20, 12, 5)
"""Images of a bank, and most pixels that each has of a class."""


def pixels(images: int, capacity: int | None) -> MemoryBank:
    """Return the bank of the first images, with random rows of a class up to the capacity."""
    random = torch.Generator().manual_seed(0)
    labels, ids = [], []
    for image in range(IMAGES):
        counts = [int(torch.randint(n // 2, n + 1, (), generator=random)) for n in PER_IMAGE]
        if image < images:
            labels += [label for label, count in enumerate(counts) for _ in range(count)]
            ids += [image] * sum(counts)
    order = torch.randperm(len(labels), generator=random)
    label, image = torch.tensor(labels)[order], torch.tensor(ids)[order]
    kept = torch.cat([(label == c).nonzero()[:capacity, 0] for c in range(len(PER_IMAGE))])
    features = torch.zeros(len(kept), 1)
    rows = Samples(features, torch.zeros(len(kept), len(PER_IMAGE)), label[kept], image[kept])
    return MemoryBank(rows, len(PER_IMAGE))


@pytest.mark.parametrize("capacity", [None, 300, 100])
@pytest.mark.parametrize("positives", [90, 140, 290, 590])
def test_all_positives_are_estimated(capacity: int | None, positives: int) -> None:
    whole, sample = pixels(IMAGES, capacity), pixels(IMAGES // 2, capacity)
    size = BankSize(whole.offsets.diff(), bytes_per_row=1, is_exact=False)
    share = complete_share(size, sample, 0.5, positives, exclude_same_id=True)
    is_same = (whole.ids[:, None] == whole.ids) & (whole.labels[:, None] == whole.labels)
    enough = size.rows_per_class[whole.labels] - is_same.sum(dim=1) >= positives
    assert share == pytest.approx(float(enough.double().mean()), abs=0.12)
    everywhere = complete_share(size, sample, 0.5, positives, exclude_same_id=False)
    exact = (size.rows_per_class[whole.labels] >= positives).double().mean()
    assert everywhere == pytest.approx(float(exact))


def test_bytes_of_a_rank() -> None:
    size = BankSize(torch.tensor([3, 0, 6]), bytes_per_row=10, is_exact=True)
    assert (size.nbytes_of_rank(4, shard=False), size.nbytes_of_rank(4, shard=True)) == (90, 30)


def test_the_sample_grows_with_the_classes() -> None:
    def of(**model: Any) -> int:
        return sample_size(Config(dict(model=model)))

    assert of(head=dict(num_classes=10)) == of() == 512
    assert of(heads=[dict(num_classes=10), dict(num_classes=100)]) == 800
    assert sample_size(toys.segmenter().student()) == 64
