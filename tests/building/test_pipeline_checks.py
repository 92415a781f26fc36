"""The bank loads the images and labels of each part as training does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset

from mmickd.building.images import BankImages
from mmickd.building.pipeline_checks import check_pipelines
from mmickd.building.pipelines import choose_pipelines, describe_pipelines
from mmickd.utils.errors import ICKDError


class Sample:
    """Data sample with a label."""

    def __init__(self, label: int, path: str) -> None:
        self.gt_label, self.metainfo = torch.tensor([label]), dict(img_path=path)

    def items(self) -> list[tuple[str, Any]]:
        return [("gt_label", self.gt_label)]


class Load:
    """Transform that loads the images of one split alone."""

    def __init__(self, split: str, value: int) -> None:
        self.split, self.value = split, value

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.split not in results["img_path"]:
            raise KeyError(results["img_path"])
        image = np.full((8, 8, 3), self.value + results["sample_idx"], np.uint8)
        return dict(results, img=image)


class Shift:
    """Transform that maps labels."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        return dict(results, gt_label=results["gt_label"] + self.by)


def pack(results: dict[str, Any]) -> dict[str, Any]:
    image = torch.from_numpy(results["img"].copy()).permute(2, 0, 1)
    return dict(inputs=image, data_samples=Sample(results["gt_label"], results["img_path"]))


def flip(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"][:, :: 1 if np.random.rand() < 0.5 else -1])


def crop(results: dict[str, Any]) -> dict[str, Any]:
    at = np.random.randint(5)
    return dict(results, img=results["img"][at : at + 4])


def halve(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"][::2, ::2])


class Pictures(BaseDataset):
    """Data set of three images of a split."""

    METAINFO = dict(classes=("a", "b", "c", "d"))

    def __init__(self, split: str, pipeline: list[Any], **options: Any) -> None:
        self.split = split
        super().__init__(pipeline=pipeline, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(img_path=f"{self.split}/{n}", gt_label=n % 2) for n in range(3)]

    def get_cat_ids(self, idx: int) -> list[int]:
        return [idx % 2]


def part(split: str, value: int, *more: Any, **options: Any) -> Pictures:
    return Pictures(split, [Load(split, value), *more], **options)


def concat(*parts: Any) -> ConcatDataset:
    """Concatenate data sets as mmengine builds nested configs."""
    configs = [dict(type=lambda part=part: part) for part in parts]
    return ConcatDataset(configs, ignore_keys=["reduce_zero_label", "label_map"])


def repeat(dataset: Any) -> RepeatDataset:
    return RepeatDataset(dict(type=lambda: dataset), 2)


VAL = part("val", 200, halve, pack, test_mode=True)


def banked(train: Any, val: Any = VAL, option: Any = None) -> list[tuple[int, int, int]]:
    """Return value, width and label of each image as the bank reads it."""
    pipelines = choose_pipelines(option, train, val, {})
    check_pipelines(train, pipelines)
    images = BankImages(train, *(pipeline.transforms for pipeline in pipelines))
    samples = [images[n] for n in range(len(images))]
    return [
        (int(s["inputs"][0, 0, 0]), s["inputs"].shape[-1], int(s["data_samples"].gt_label))
        for s in samples
    ]


FIRST = [(10, 4, 0), (11, 4, 1), (12, 4, 0)]
SECOND = [(50, 4, 2), (51, 4, 3), (52, 4, 2)]


@pytest.mark.parametrize(
    "second",
    [
        [Shift(2), flip, crop, pack],
        [crop, Shift(2), flip, pack],
        [flip, crop, Shift(2), pack],
        [Shift(1), crop, Shift(1), pack],
        [Shift(2), halve, pack],
        [Shift(2), pack],
    ],
)
@pytest.mark.parametrize("nesting", ["concat", "repeat", "balanced", "twice"])
def test_every_part_keeps_its_loading_and_its_labels(second: list[Any], nesting: str) -> None:
    parts: list[Any] = [part("first", 10, flip, crop, pack), part("second", 50, *second)]
    if nesting == "repeat":
        parts[1] = repeat(parts[1])
    elif nesting == "balanced":
        parts[1] = ClassBalancedDataset(parts[1], 0.9)
    train: Any = concat(*parts)
    if nesting == "twice":
        train = repeat(concat(train, part("third", 90, crop, pack)))
        assert banked(train) == [*FIRST, *SECOND, (90, 4, 0), (91, 4, 1), (92, 4, 0)]
    else:
        assert banked(train) == [*FIRST, *SECOND]


def test_the_description_has_the_pipeline_of_each_part() -> None:
    train = ConcatDataset([part("first", 10, crop, pack), part("second", 50, Shift(2), crop, pack)])
    assert describe_pipelines(choose_pipelines(None, train, VAL, {})) == (
        "Load, halve, pack (loading of the training set, geometry of the validation set); "
        "Load, Shift, halve, pack (loading of the training set, geometry of the validation set)"
    )


def test_geometry_comes_from_a_pipeline_that_cannot_load_the_training_images() -> None:
    cfg = dict(val_dataloader=dict(dataset=dict(type="Pictures", pipeline=VAL.pipeline.transforms)))
    train = part("first", 10, crop, pack)
    pipelines = choose_pipelines(None, train, None, cfg)
    assert describe_pipelines(pipelines).startswith(
        "Load, halve, pack (loading of the training set"
    )
    check_pipelines(train, pipelines)


def test_bank_pipeline_is_used_as_it_is() -> None:
    train = ConcatDataset([part("first", 10, crop, pack), part("second", 50, Shift(2), crop, pack)])
    option = [Load("", 7), pack]
    assert banked(train, option=option) == [(7 + n, 8, n % 2) for n in [0, 1, 2]] * 2


def shift_and_crop(results: dict[str, Any]) -> dict[str, Any]:
    return crop(Shift(2)(results))


@pytest.mark.parametrize("mapping", [shift_and_crop, lambda r: halve(Shift(2)(r))])
def test_labels_mapped_by_transforms_that_the_bank_leaves_out_are_an_error(mapping: Any) -> None:
    with pytest.raises(ICKDError, match=r"(shift_and_crop|lambda).*bank\.pipeline"):
        banked(part("first", 10, mapping, pack))


def to_list(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=[results["img"]])


def from_list(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=results["img"][0])


def test_geometry_is_placed_where_it_can_process_the_image() -> None:
    def crop_list(results: dict[str, Any]) -> dict[str, Any]:
        return to_list(crop(from_list(results)))

    train = part("first", 10, Shift(2), to_list, crop_list, from_list, pack)
    assert banked(train) == [(10, 4, 2), (11, 4, 3), (12, 4, 2)]


def test_an_image_that_a_random_transform_loads_is_an_error() -> None:
    def load_at_random(results: dict[str, Any]) -> dict[str, Any]:
        return flip(Load("second", 50)(results))

    second = Pictures("second", [load_at_random, pack])
    with pytest.raises(ICKDError, match=r"second/0.*bank\.pipeline"):
        banked(concat(part("first", 10, crop, pack), second))


class LabelsOfTraining(Pictures):
    """Data set that maps labels in training alone."""

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info = super().get_data_info(idx)
        return info if self.test_mode else dict(info, gt_label=info["gt_label"] + 1)


def test_labels_that_differ_are_an_error_with_the_transforms() -> None:
    train = LabelsOfTraining("first", [Load("first", 10), flip, pack])
    with pytest.raises(ICKDError, match=r"first/0.*gt_label differ.*Load, pack.*halve") as caught:
        banked(ConcatDataset([part("other", 50, flip, pack), train]))
    assert "bank.pipeline" in str(caught.value)


class NeedsFlip:
    """Transform that needs the output of a random one."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        return dict(results, gt_label=results["gt_label"] + results["by"])


def test_a_transform_that_needs_a_random_one_is_an_error() -> None:
    def draw(results: dict[str, Any]) -> dict[str, Any]:
        return dict(results, by=np.random.randint(1, 3))

    with pytest.raises(ICKDError, match=r"NeedsFlip.* first/0"):
        banked(part("first", 10, draw, crop, NeedsFlip(), Shift(1), pack))


def test_label_mapping_and_reduce_zero_label_of_a_segmenter(tmp_path: Path) -> None:
    from mmengine.registry import init_default_scope
    from mmseg.datasets import BaseSegDataset

    from tests.helpers.tiny import make_scenes

    init_default_scope("mmseg")
    make_scenes(tmp_path, count=3, void=False)
    load = dict(type="LoadImageFromFile")

    def scenes(split: str, pipeline: list[Any], **options: Any) -> BaseSegDataset:
        return BaseSegDataset(
            data_root=str(tmp_path),
            img_suffix=".png",
            data_prefix=dict(img_path=f"img_dir/{split}", seg_map_path=f"ann_dir/{split}"),
            metainfo=dict(classes=list("abc"), palette=[[0] * 3] * 3),
            pipeline=pipeline,
            **options,
        )

    def exchange(results: dict[str, Any]) -> dict[str, Any]:
        return dict(results, gt_seg_map=(3 - results["gt_seg_map"]) % 3)

    random_crop, pack_seg = dict(type="RandomCrop", crop_size=(32, 32)), dict(type="PackSegInputs")
    plain = scenes("train", [load, dict(type="LoadAnnotations"), random_crop, pack_seg])
    mapped = scenes("val", [load, dict(type="LoadAnnotations"), random_crop, exchange, pack_seg])
    zero = scenes(
        "val", [load, dict(type="LoadAnnotations"), random_crop, pack_seg], reduce_zero_label=True
    )
    resize = dict(type="Resize", scale=(32, 24), keep_ratio=True)
    val = scenes("val", [load, resize, dict(type="LoadAnnotations"), pack_seg], test_mode=True)

    def maps(train: Any) -> list[np.ndarray]:
        pipelines = choose_pipelines(None, train, val, {})
        check_pipelines(train, pipelines)
        images = BankImages(train, *(pipeline.transforms for pipeline in pipelines))
        assert all(images[n]["inputs"].shape[1:] == (24, 32) for n in range(len(images)))
        return [images[n]["data_samples"].gt_sem_seg.data.numpy()[0] for n in range(len(images))]

    whole = maps(val)
    val = scenes("val", [load, resize, dict(type="LoadAnnotations"), pack_seg], test_mode=True)
    labels = [label_map[::2, ::2] for label_map in whole]
    joined = maps(concat(plain, repeat(mapped)))
    assert joined[0].shape == (48, 64)  # in the order of evaluation: labels are loaded after Resize
    for label_map, label in zip(joined[3:], labels, strict=True):
        assert (label_map == (3 - label) % 3).all()
    # LoadAnnotations keeps the reduce_zero_label of its first image
    both = maps(concat(plain, zero))
    assert len(both) == 6 and both[0].max() == 2
    for label_map, label in zip(both[3:], whole, strict=True):
        assert (label_map == np.where(label == 0, 255, label - 1)).all()
