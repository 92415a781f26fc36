"""The size of a bank, told from a small one, against the bank itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.banks import MemoryBank
from mmickd.commands.checking.collect import look
from mmickd.commands.checking.size import BankSize, complete_share, sample_size
from mmickd.commands.open_run import open_run
from mmickd.diagnostics.bank_report import report_of
from mmickd.hooks.entries import set_hook_options
from mmickd.structures import Samples
from tests.helpers import toys
from tests.helpers.tiny import make_class_folders, make_scenes

TOLERANCE = 0.25
"""Of the rows of all classes, from half of the scenes."""


def whole_banks(cfg: Config) -> dict[str, Any]:
    cfg = cfg.copy()
    set_hook_options(cfg, bank={"cache_dir": None})
    with open_run(cfg) as run:
        return dict(run.distiller.teacher.memories["teacher"].banks)


@pytest.mark.parametrize(
    "bank", [{}, {"capacity_per_class": 4, "dtype": "fp32"}, {"max_images": 14}]
)
def test_images_are_counted(bank: dict[str, Any], tmp_path) -> None:
    data = make_class_folders(tmp_path, per_class=6)
    for number in (1, 2, 3):  # classes of different size
        (data / f"train/c0/{number}.png").unlink()
    cfg = toys.classifier().distilled(bank=bank)
    cfg.train_dataloader.dataset.data_root = str(data)
    (real,) = whole_banks(cfg).values()
    size = look(cfg, images=9).frozen["image"].size
    assert size.is_exact
    assert size.rows_per_class.tolist() == real.offsets.diff().tolist()
    assert (size.rows, size.nbytes) == (len(real), real.nbytes)


@pytest.mark.parametrize("bank", [{"pixels_per_image": 5}, {"capacity_per_class": 20}])
def test_pixels_are_estimated(bank: dict[str, Any], tmp_path) -> None:
    cfg = toys.segmenter().distilled(level=["pixel", "region"], bank=bank)
    cfg.train_dataloader.dataset.data_root = str(make_scenes(tmp_path, count=12))
    real = whole_banks(cfg)
    exact, estimated = (look(cfg, images=images).frozen for images in (12, 6))
    for level, one in real.items():
        assert exact[level].size.is_exact
        assert torch.equal(exact[level].size.rows_per_class, one.offsets.diff())
        assert exact[level].size.nbytes == one.nbytes
        size = estimated[level].size
        assert not size.is_exact
        assert size.rows == pytest.approx(len(one), rel=TOLERANCE)
        if "capacity_per_class" in bank and level == "pixel":
            assert size.rows == len(one) == 60  # every class is full


def test_the_config_is_left_as_it_is() -> None:
    cfg = toys.classifier().distilled(bank={"seed": 1})
    before = copy.deepcopy(cfg.to_dict())
    look(cfg, images=5)
    assert cfg.to_dict() == before


@pytest.mark.parametrize("positives", [10, 30])
@pytest.mark.parametrize("exclude", [True, False])
def test_the_rows_of_the_own_image_are_no_positives(positives: int, exclude: bool) -> None:
    losses = {"picd": {"num_positives": positives}}
    cfg = toys.segmenter().distilled(losses=losses, exclude_same_id=exclude)
    (bank,) = whole_banks(cfg).values()
    logged = report_of(bank, positives, exclude).complete
    assert look(cfg, images=1000).frozen["pixel"].complete == logged
    assert logged is not None and (logged < 0.9) == (exclude and positives == 30)


IMAGES, PER_IMAGE = 40, (20, 12, 5)
"""Images of a bank, and most pixels that each has of a class."""


def pixels(images: int, capacity: int | None) -> MemoryBank:
    """The bank of the first images; of a class, rows at random up to the capacity."""
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
    whole, sampled = pixels(IMAGES, capacity), pixels(IMAGES // 2, capacity)
    size = BankSize(whole.offsets.diff(), bytes_per_row=1, is_exact=False)
    found = complete_share(size, sampled, 0.5, positives, exclude_same_id=True)
    own = (whole.ids[:, None] == whole.ids) & (whole.labels[:, None] == whole.labels)
    enough = size.rows_per_class[whole.labels] - own.sum(dim=1) >= positives
    assert found == pytest.approx(float(enough.double().mean()), abs=0.12)
    everywhere = complete_share(size, sampled, 0.5, positives, exclude_same_id=False)
    exact = (size.rows_per_class[whole.labels] >= positives).double().mean()
    assert everywhere == pytest.approx(float(exact))


def test_what_a_rank_holds() -> None:
    size = BankSize(torch.tensor([3, 0, 6]), bytes_per_row=10, is_exact=True)
    assert (size.nbytes_of_rank(4, shard=False), size.nbytes_of_rank(4, shard=True)) == (90, 30)


def test_the_sample_grows_with_the_classes() -> None:
    def of(**model: Any) -> int:
        return sample_size(Config(dict(model=model)))

    assert of(head=dict(num_classes=10)) == of() == 512
    assert of(heads=[dict(num_classes=10), dict(num_classes=100)]) == 800
    assert sample_size(toys.segmenter().student()) == 64
