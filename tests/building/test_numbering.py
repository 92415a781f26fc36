"""Images without paths are numbered over all parts of a data set, for the bank and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmpretrain.datasets import PackInputs
from torch.utils.data import DataLoader

from mmickd.building.images import BankImages
from mmickd.building.numbering import NumberedInfo, number_training_images
from mmickd.building.parts import leaf_datasets
from mmickd.building.pipeline_checks import check_image_keys
from mmickd.datasets import InMemoryDataset
from mmickd.registry import DATASETS
from mmickd.sampling import image_id
from mmickd.tasks.base import data_sample_id
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.recorders import Callback
from tests.helpers.tiny import run

PACK = [PackInputs(meta_keys=("sample_idx", "img_path"))]


@DATASETS.register_module()
class GreyPart(BaseDataset):
    """Data set of images in memory, each with another value."""

    METAINFO = dict(classes=("c0", "c1", "c2"))

    def __init__(self, grey: int, count: int = 3, path: str = "", pipeline: Any = PACK) -> None:
        self.grey, self.count, self.path = grey, count, path
        super().__init__(ann_file="", pipeline=pipeline)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [
            dict(
                img=np.full((16, 16, 3), self.grey + n, np.uint8),
                gt_label=(self.grey + n) % 3,
                **(dict(img_path=f"{self.path}/{n}") if self.path else {}),
            )
            for n in range(self.count)
        ]


def concat(*parts: Any) -> ConcatDataset:
    return ConcatDataset([dict(type=lambda part=part: part) for part in parts])


def repeat(part: Any) -> RepeatDataset:
    return RepeatDataset(dict(type=lambda: part), 2)


def make_train_set(kind: str) -> tuple[Any, dict[int, str]]:
    """Return a training set, and the key of each image by its value."""
    parts = [GreyPart(0), GreyPart(50, 2), GreyPart(100)]
    keys = {0: "#0", 1: "#1", 2: "#2", 50: "#3", 51: "#4", 100: "#5", 101: "#6", 102: "#7"}
    if kind == "nested":
        return repeat(concat(parts[0], repeat(concat(*parts[1:])))), keys
    if kind == "same":
        return concat(*parts, parts[1]), keys
    if kind == "in memory":
        return concat(*(repeat(InMemoryDataset(part)) for part in parts)), keys
    if kind == "paths":
        parts[1] = GreyPart(50, 2, "folder")
        keys.update({50: "folder/0", 51: "folder/1"})
    return concat(*parts), keys


KINDS = ["plain", "nested", "same", "in memory", "paths"]


def ids_of(samples: Any) -> dict[int, int]:
    """Return the id of each image by its value; the id must always be the same."""
    ids: dict[int, int] = {}
    for sample in samples:
        key = data_sample_id(sample["data_samples"])
        assert ids.setdefault(int(sample["inputs"].flatten()[0]), key) == key
    return ids


@pytest.mark.parametrize("kind", KINDS)
def test_the_bank_and_training_give_each_image_one_id(kind: str) -> None:
    train, keys = make_train_set(kind)
    expected = {value: image_id(key) for value, key in keys.items()}
    images = BankImages(train, PACK[0])
    before = [dict(vars(part)) for part in leaf_datasets(train)]
    assert [vars(part) for part in leaf_datasets(train)] == before  # nothing is changed
    assert list(images.names()) == list(keys.values())
    for _ in range(2):
        assert ids_of(images[n] for n in range(len(images))) == expected
        number_training_images(leaf_datasets(train), has_worker_copies=False)
        assert ids_of(train[n] for n in range(len(train))) == expected
        images = BankImages(train, PACK[0])
    loader = DataLoader(train, num_workers=1, collate_fn=lambda sample: sample, batch_size=None)
    assert ids_of(loader) == expected


def test_one_part_alone_and_parts_with_paths_are_left_alone() -> None:
    for parts in ([GreyPart(0)], [GreyPart(0, path="a"), GreyPart(9, path="b")]):
        number_training_images(parts, has_worker_copies=True)
        assert not any(
            isinstance(part.__dict__.get("get_data_info"), NumberedInfo) for part in parts
        )


def test_data_sets_that_workers_have_copied_cannot_be_numbered() -> None:
    with pytest.raises(ICKDError, match=r"img_path.*num_workers=0"):
        number_training_images([GreyPart(0), GreyPart(50)], has_worker_copies=True)


class OwnNumbers(GreyPart):
    """Data set that numbers its images itself, after get_data_info."""

    def prepare_data(self, idx: int) -> Any:
        return self.pipeline({**self.get_data_info(idx), "sample_idx": idx})


def test_a_part_that_is_packed_with_other_numbers_is_refused() -> None:
    check_image_keys(BankImages(concat(GreyPart(0), GreyPart(50)), PACK[0]))
    check_image_keys(BankImages(OwnNumbers(50), PACK[0]))
    with pytest.raises(ICKDError, match=r"sample 3 .*img_path"):
        check_image_keys(BankImages(concat(GreyPart(0), OwnNumbers(50)), PACK[0]))


@pytest.mark.parametrize("is_frozen", [True, False])
def test_ids_of_the_banks_of_a_run(is_frozen: bool) -> None:
    cfg = toys.classifier().distilled(bank=dict(cache_dir=None, capacity_per_class=20))
    if not is_frozen:
        cfg.custom_hooks[0]["teacher"] = dict(type="SelfTeacher")
    pack = [dict(type="PackInputs", meta_keys=("sample_idx",))]
    parts = [dict(type="mmickd.GreyPart", grey=grey, pipeline=pack) for grey in (0, 60)]
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    cfg.train_cfg.max_iters = 4

    def bank_ids(runner: Any) -> list[int]:
        return [id_ for b in toys.banks_of(runner).values() for id_ in b.ids.flatten().tolist()]

    collector = Callback(after_train_iter=bank_ids)
    run(cfg, collector)
    ids = {id_ for step_ids in collector.results for id_ in step_ids}
    assert ids - {-1} == {image_id(f"#{n}") for n in range(6)}
