"""Training images for the bank: which ones, their ids, their pipelines."""

import copy
import os

import numpy as np
import pytest
import torch
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    Compose,
    ConcatDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)

from mmickd.building.images import BankImages
from mmickd.building.parts import leaf_datasets
from mmickd.building.pipeline_checks import check_first_sample
from mmickd.sampling import image_id
from mmickd.tasks.base import data_sample_id
from mmickd.utils import timing
from mmickd.utils.errors import ICKDError
from tests.helpers.tiny import make_class_folders, make_scenes

LOAD = [dict(type="LoadImageFromFile")]
PACK = [dict(type="PackInputs")]
FLIP = [dict(type="RandomFlip", prob=0.5, direction="horizontal")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_class_folders(tmp_path_factory.mktemp("classes"), per_class=4)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes"), count=3)


@pytest.fixture
def pretrain_scope():
    from mmengine.registry import DefaultScope, init_default_scope

    previous = DefaultScope.get_current_instance()
    init_default_scope("mmpretrain")
    yield
    if previous is not None:
        init_default_scope(previous.scope_name)


@pytest.fixture
def dataset(data, pretrain_scope):
    return custom(data)


def custom(data, split="train", pipeline=LOAD + FLIP + PACK, **options):
    from mmpretrain.datasets import CustomDataset

    return CustomDataset(data_root=str(data), data_prefix=split, pipeline=pipeline, **options)


def seg(scenes, pipeline):
    from mmseg.datasets import BaseSegDataset

    return BaseSegDataset(
        data_root=str(scenes),
        img_suffix=".png",
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        metainfo=dict(classes=list("abc"), palette=[[0] * 3] * 3),
        pipeline=pipeline,
    )


def paths(images):
    return [images.info(i)["img_path"] for i in range(len(images))]


class Pathless(BaseDataset):
    """Data set of images in memory, such as CIFAR."""

    def load_data_list(self):
        return [dict(img=np.zeros((4, 4, 3), np.uint8), gt_label=n % 2) for n in range(3)]


@pytest.mark.parametrize("kind", ["files", "several", "memory"])
def test_ids_of_rows_are_hashes_of_names(dataset, data, kind):
    if kind == "memory":
        images = BankImages(Pathless(), PACK)
    else:
        several = ConcatDataset([dataset, custom(data, "val")])
        images = BankImages(several if kind == "several" else dataset, LOAD + PACK)
    for limit in (None, 2):
        images.limit(limit, seed=0)
        ids = [data_sample_id(images[n]["data_samples"]) for n in range(len(images))]
        assert [image_id(name) for name in images.names()] == ids and len(set(ids)) == len(images)


def test_every_image_is_there_once_in_order(dataset):
    images = BankImages(dataset, LOAD + PACK)
    assert len(images) == 12
    assert paths(images) == [dataset.get_data_info(i)["img_path"] for i in range(12)]
    sample = images[5]
    assert sample["inputs"].shape == (3, 16, 16) and sample["inputs"].dtype == torch.uint8
    assert sample["data_samples"].img_path == images.name(5) == paths(images)[5]
    assert int(sample["data_samples"].gt_label) == 1


@pytest.mark.parametrize("wrapper", ["repeat", "balanced", "nested", "concat", "kfold", "pretrain"])
def test_wrappers_do_not_repeat_images(dataset, data, wrapper):
    whole = sorted(paths(BankImages(dataset, LOAD + PACK)))
    if wrapper == "repeat":
        wrapped = RepeatDataset(dataset, times=3)
    elif wrapper == "balanced":
        wrapped = ClassBalancedDataset(dataset, oversample_thr=0.9)
    elif wrapper == "nested":
        inner = dict(type="RepeatDataset", dataset=config(data), times=2)
        wrapped = RepeatDataset(inner, times=3)
    elif wrapper == "concat":
        wrapped = ConcatDataset([dataset, custom(data, "val")], ignore_keys="dataset_type")
        whole = sorted(whole + paths(BankImages(custom(data, "val"), LOAD + PACK)))
    elif wrapper == "pretrain":
        from mmpretrain.registry import DATASETS

        wrapped = DATASETS.build(dict(type="RepeatDataset", dataset=config(data), times=2))
    else:
        from mmpretrain.datasets import KFoldDataset

        wrapped = KFoldDataset(config(data), fold=1, num_splits=4, seed=0)
        whole = sorted(wrapped[i]["img_path"] for i in range(len(wrapped)))
        assert len(whole) == 9  # without the 3 images of the fold that is held out
    images = BankImages(wrapped, LOAD + PACK)
    assert sorted(paths(images)) == whole
    assert len({images[i]["data_samples"].img_path for i in range(len(images))}) == len(whole)


def config(data):
    return dict(type="CustomDataset", data_root=str(data), data_prefix="train", pipeline=LOAD)


def test_concat_inside_of_repeat_and_mmseg_mix(scenes):
    from mmengine.registry import init_default_scope
    from mmseg.datasets import MultiImageMixDataset

    init_default_scope("mmseg")
    pipeline = [*LOAD, dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
    part = seg(scenes, pipeline)
    concat = ConcatDataset([part, seg(scenes, pipeline)])
    both = RepeatDataset(part, times=2)
    both.dataset = concat  # as mmengine builds it from nested configs
    assert [type(leaf).__name__ for leaf in leaf_datasets(both)] == ["BaseSegDataset"] * 2
    inner = dict(
        type="BaseSegDataset", data_root=str(scenes), img_suffix=".png", pipeline=LOAD,
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
    )  # fmt: skip
    mixed = MultiImageMixDataset(inner, [dict(type="PackSegInputs")])
    images = BankImages(mixed, pipeline)
    assert len(images) == 3
    assert images[0]["data_samples"].gt_sem_seg.data.shape == (1, 48, 64)


def test_images_of_several_parts_are_there_once(data, dataset):
    other = custom(data, "val")
    joined = ConcatDataset([dataset, other, custom(data)], ignore_keys="dataset_type")
    pipeline = Compose(LOAD + PACK)
    images = BankImages(joined, pipeline)
    once = paths(BankImages(dataset, pipeline)) + paths(BankImages(other, pipeline))
    assert paths(images) == once and len(set(once)) == len(once)


def test_the_training_set_is_not_changed(dataset, monkeypatch):
    wrapped = RepeatDataset(dataset, times=2)
    before = dict(vars(dataset))
    data_list, addresses = copy.deepcopy(dataset.data_list), dataset.data_bytes
    monkeypatch.setattr(type(dataset), "load_data_list", lambda *a: pytest.fail("scanned again"))
    images = BankImages(wrapped, LOAD + PACK)
    images.limit(3, seed=0)
    _ = [images[i] for i in range(len(images))]
    after = vars(dataset)
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    assert dataset.data_list == data_list and dataset.data_bytes is addresses
    assert dataset.test_mode is False and wrapped.dataset is dataset
    assert len(wrapped) == 24


def test_a_lazy_data_set_is_completed(data, pretrain_scope):
    lazy = custom(data, lazy_init=True)
    assert len(BankImages(RepeatDataset(lazy, times=2, lazy_init=True), LOAD + PACK)) == 12


@pytest.mark.parametrize("sampler", [DefaultSampler, InfiniteSampler])
def test_the_order_of_the_sampler_does_not_change(dataset, sampler):
    from mmickd.utils.random_state import preserved_random_state

    def stream(disturb):
        torch.manual_seed(0)
        iterator = iter(sampler(dataset, shuffle=True, seed=3))
        first = [next(iterator) for _ in range(5)]
        if disturb:
            with preserved_random_state():
                images = BankImages(dataset, LOAD + FLIP + PACK)
                images.limit(4, 0)
                _ = [images[i] for i in range(4)]
        return first + [next(iterator) for _ in range(6)] + torch.rand(3).tolist()

    assert stream(False) == stream(True)


def test_an_unreadable_image_is_an_error_and_not_another_image(data, tmp_path, pretrain_scope):
    import shutil

    shutil.copytree(data, tmp_path / "d")
    images = BankImages(custom(tmp_path / "d"), LOAD + PACK)
    with open(images.name(2), "wb") as file:
        file.write(b"no picture")
    with pytest.raises(Exception):  # noqa: B017 the decoder may raise anything
        images[2]
    assert images[3] is not None


def test_no_images(dataset, data):
    empty = dataset.get_subset([])
    with pytest.raises(ICKDError, match="empty"):
        BankImages(empty, LOAD + PACK)


def test_a_data_set_without_a_pipeline_is_refused():
    with pytest.raises(ICKDError, match="list has no pipeline"):
        BankImages([1, 2, 3], Compose([]))


class NoSample:
    """Transform that returns None."""

    def __call__(self, results):
        return None


def test_a_pipeline_without_a_result(dataset):
    # mmengine itself raises on None in test mode
    with pytest.raises(Exception, match=r"None|no sample"):
        BankImages(dataset, Compose([NoSample()]))[0]


@pytest.mark.parametrize("count", [1, 5, 11])
def test_limit_does_not_depend_on_the_order_of_the_images(dataset, count):
    images = BankImages(dataset, LOAD + PACK)
    images.limit(count, seed=0)
    chosen = paths(images)
    assert len(chosen) == count and chosen == sorted(
        chosen, key=paths(BankImages(dataset, LOAD)).index
    )
    shuffled = BankImages(dataset.get_subset([7, 3, 11, 0, 5, 9, 1, 10, 2, 4, 8, 6]), LOAD + PACK)
    shuffled.limit(count, seed=0)
    assert set(paths(shuffled)) == set(chosen)
    # Fewer images are a subset of more images.
    fewer = BankImages(dataset, LOAD + PACK)
    fewer.limit(max(1, count - 3), seed=0)
    assert set(paths(fewer)) <= set(chosen)


def test_limit_depends_on_the_seed_and_none_keeps_all(dataset):
    choices = set()
    for seed in range(6):
        images = BankImages(dataset, LOAD + PACK)
        images.limit(4, seed)
        choices.add(tuple(paths(images)))
    assert len(choices) > 3
    images = BankImages(dataset, LOAD + PACK)
    for count in (None, 12, 500):
        images.limit(count, 0)
        assert len(images) == 12


def has_label(sample):
    return "gt_label" in sample


@pytest.mark.parametrize("seed", range(4))
def test_a_random_pipeline_is_refused(dataset, seed):
    import numpy as np

    np.random.seed(seed)
    with pytest.raises(ICKDError, match="is random"):
        check_first_sample(BankImages(dataset, LOAD + FLIP + PACK), has_label)


def test_the_first_sample_is_returned(dataset):
    images = BankImages(dataset, LOAD + PACK)
    sample = check_first_sample(images, has_label)
    assert sample["data_samples"].img_path == images.name(0)


def test_a_pipeline_that_does_not_pack(dataset):
    with pytest.raises(ICKDError, match=r"does not pack.*PackInputs"):
        check_first_sample(BankImages(dataset, LOAD), has_label)


def test_a_pipeline_without_labels_is_refused(scenes):
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    images = BankImages(seg(scenes, LOAD), [*LOAD, dict(type="PackSegInputs")])
    with pytest.raises(ICKDError, match=r"no label.*Set bank\.pipeline"):
        check_first_sample(images, lambda sample: "gt_sem_seg" in sample)


def test_a_first_image_that_cannot_be_read(data, tmp_path, pretrain_scope):
    import shutil

    shutil.copytree(data, tmp_path / "d")
    images = BankImages(custom(tmp_path / "d"), LOAD + PACK)
    with open(images.name(0), "wb") as file:
        file.write(b"no picture")
    with pytest.raises(ICKDError, match=r"fails on .*0.png"):
        check_first_sample(images, has_label)


def test_a_torch_subset_is_refused() -> None:
    """Its indices would be lost, so that held-out images would be in the bank."""
    with pytest.raises(ICKDError, match="Subset"):
        leaf_datasets(torch.utils.data.Subset([1, 2, 3], [0]))


class Annotated:
    """Data set without images."""

    pipeline = None

    def __init__(self, infos):
        self.infos = infos

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]


def test_the_digest_depends_on_annotations_and_files(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for file in files:
        file.write_bytes(b"12345")
        os.utime(file, (1, 1))
    infos = [dict(img_path=str(f), gt_label=i) for i, f in enumerate(files)]

    def digest_of(infos):
        return BankImages(Annotated(infos), []).digest()

    before = digest_of(infos)
    assert digest_of([dict(reversed(i.items())) for i in infos]) == before
    assert digest_of(infos[::-1]) != before
    assert digest_of(infos[:1]) != before
    assert digest_of([infos[0], {**infos[1], "gt_label": 0}]) != before
    os.utime(files[1], (2, 2))
    touched = digest_of(infos)
    assert touched != before
    files[1].write_bytes(b"123456")
    os.utime(files[1], (2, 2))
    assert digest_of(infos) not in (before, touched)


def test_a_long_check_of_the_files_logs_its_progress(dataset, monkeypatch):
    lines = []
    monkeypatch.setattr(timing, "print_log", lambda text, logger: lines.append(text))
    images = BankImages(dataset, [])
    images.digest()
    assert not lines  # quick
    monkeypatch.setattr(timing, "PROGRESS_SECONDS", 0.0)
    images.digest()
    assert len(lines) == len(images) and f"1/{len(images)} images" in lines[0]
