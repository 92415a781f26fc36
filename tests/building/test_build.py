"""Banks of a tiny teacher and tiny images."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmickd.banks.options import BankOptions
from mmickd.building import build as building
from mmickd.building.build import build_banks
from mmickd.building.images import BankImages
from mmickd.sampling import image_id
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import get_module
from tests.helpers.teachers import offline
from tests.helpers.tiny import (
    classifier_config,
    make_class_folders,
    make_scenes,
    save_teacher,
    segmenter_config,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Images and teacher, by scope."""
    root = tmp_path_factory.mktemp("building")
    by_scope = {}
    for scope, data, config in (
        ("mmpretrain", make_class_folders(root / "c"), classifier_config),
        ("mmseg", make_scenes(root / "s", count=5), segmenter_config),
    ):
        cfg = config(data, root, width=4)
        teacher = offline(scope, cfg, save_teacher(cfg, root / f"{scope}.pth"))
        by_scope[scope] = (images_of(cfg, scope), teacher)
    return by_scope


def images_of(cfg, scope):
    from mmengine.registry import DATASETS

    init_default_scope(scope)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return BankImages(dataset, cfg.val_dataloader.dataset.pipeline)


def build(built, scope, level, batch_size=4, workers=0, min_classes=2, **options):
    options = BankOptions(**{"dtype": "fp32", **options})
    return build_banks([level], options, *built[scope], batch_size, workers, min_classes)[level]


def check_equal(a, b, exactly=True):
    assert torch.equal(a.ids, b.ids) and torch.equal(a.labels, b.labels)
    for name in ("features", "logits"):
        same = torch.equal if exactly else torch.allclose
        assert same(getattr(a, name), getattr(b, name), **({} if exactly else {"atol": 1e-4}))


def test_image_level_is_the_teacher_on_each_image(built):
    images, teacher = built["mmpretrain"]
    bank = build(built, "mmpretrain", "image")
    assert len(bank) == len(images) == 18 and bank.offsets.tolist() == [0, 6, 12, 18]
    for i in range(0, 18, 5):
        sample = images[i]
        row = int((bank.ids == image_id(images.name(i))).nonzero()[0, 0])
        inputs = teacher.preprocess(
            {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}
        )
        tapped = teacher.forward_normalized(inputs)
        feature = torch.nn.functional.normalize(tapped.features, dim=1)[0]
        assert torch.allclose(bank.features[row], feature, atol=1e-5)
        assert torch.allclose(bank.logits[row], tapped.logits[0], atol=1e-5)
        assert int(bank.labels[row]) == i // 6


@pytest.mark.parametrize(
    ("scope", "level"), [("mmpretrain", "image"), ("mmseg", "pixel"), ("mmseg", "region")]
)
def test_workers_do_not_matter_and_batches_only_by_rounding(built, scope, level):
    expected = build(built, scope, level)
    check_equal(build(built, scope, level, workers=2), expected)
    check_equal(build(built, scope, level, batch_size=1), expected, exactly=False)


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_any_number_of_ranks_collects_the_same_rows(built, monkeypatch, world_size):
    """The rows of all ranks, computed in turn, are bit for bit the rows of one rank.

    9 ranks are more than there are batches.
    """
    expected = build(built, "mmseg", "pixel", batch_size=2)
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr(building.dist, "get_dist_info", lambda r=rank: (r, world_size))
        parts.append(build(built, "mmseg", "pixel", batch_size=2, min_classes=0).samples)
    rows = Samples.cat(parts)
    assert len(rows) == len(expected)

    def as_set(samples):
        return sorted(map(tuple, torch.cat([samples.features, samples.logits], 1).tolist()))

    assert as_set(rows) == as_set(expected.samples)


def test_pixels_per_image_and_capacity(built):
    bank = build(built, "mmseg", "pixel", pixels_per_image=3)
    for c in range(3):
        counts = bank.ids[bank.labels == c].unique(return_counts=True)[1]
        assert int(counts.max()) == 3
    small = build(built, "mmseg", "pixel", pixels_per_image=3, capacity_per_class=4)
    assert small.max_class_size == 4

    def keys(samples):
        return set(map(tuple, samples.features.tolist()))

    assert keys(small.samples) <= keys(bank.samples)
    assert keys(build(built, "mmseg", "pixel", pixels_per_image=3, seed=1).samples) != keys(
        bank.samples
    )


def test_images_of_several_sizes_in_one_batch(built):
    images, teacher = built["mmpretrain"]

    class Cropped:
        """Images of which every third is smaller."""

        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            sample = images[i]
            return {**sample, "inputs": sample["inputs"][:, :8]} if i % 3 == 0 else sample

        name = images.name

    def build_cropped(batch_size):
        options = BankOptions(dtype="fp32")
        return build_banks(["image"], options, Cropped(), teacher, batch_size, 0)["image"]

    check_equal(build_cropped(7), build_cropped(1), exactly=False)


def changed(images, index, change):
    """Return ``images`` with one sample replaced by ``change(sample)``."""

    class Changed:
        name = images.name

        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            return change(images[i]) if i == index else images[i]

    return Changed()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_error_for_an_invalid_label_has_the_image(built, workers):
    images, teacher = built["mmseg"]

    def change(sample):
        sample["data_samples"].gt_sem_seg.data[0, 20, 20] = 7
        return sample

    with pytest.raises(ICKDError, match=r"3\.png is labelled \[7\], outside .*ignore_index"):
        build_banks(["pixel"], BankOptions(), changed(images, 3, change), teacher, 2, workers)


def test_the_error_for_an_unreadable_image_has_the_image(built):
    images, teacher = built["mmpretrain"]

    def fail(sample):
        raise OSError("broken")

    with pytest.raises(ICKDError, match=r"c0.*\.png: OSError: broken"):
        build_banks(["image"], BankOptions(), changed(images, 2, fail), teacher, 4, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_error_for_nan_or_inf_of_the_teacher_has_the_image(built, value):
    images, teacher = built["mmpretrain"]

    def change(layer, args):
        features = args[0].clone()
        features[2, 0] = value
        return (features,)

    layer = get_module(teacher.model, teacher.tap.layer)
    with (
        layer.register_forward_pre_hook(change),
        pytest.raises(ICKDError, match=r"NaN or Inf features for .*\.png"),
    ):
        build_banks(["image"], BankOptions(), images, teacher, 4, 0)


def test_logits_too_large_for_the_dtype(built):
    images, teacher = built["mmpretrain"]

    layer = get_module(teacher.model, teacher.tap.layer)
    with (
        layer.register_forward_hook(lambda layer, args, output: output.fill_(1e5)),
        pytest.raises(ICKDError, match=r"bank\.dtype='fp32'"),
    ):
        build_banks(["image"], BankOptions(dtype="fp16"), images, teacher, 4, 0)


def test_too_few_classes(built):
    images, teacher = built["mmseg"]
    for value, message in ((1, "only class 1"), (255, "no labelled row at all")):

        class Plain:
            name = images.name
            fill = value

            def __len__(self):
                return 2

            def __getitem__(self, i):
                sample = images[i]
                sample["data_samples"].gt_sem_seg.data.fill_(self.fill)
                return sample

        with pytest.raises(ICKDError, match=message):
            build_banks(["region"], BankOptions(), Plain(), teacher, 2, 0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_the_error_without_memory_has_the_batch_size(built, error):
    images, teacher = built["mmpretrain"]

    def fail(*_):
        raise error

    expected = r"out of memory .*bank\.batch_size to less than 4"
    if "mat1" in str(error):  # a later image has another size than the first one
        expected = r"cannot run on an image that .*c0/0\.png.* of \d+x\d+ pixels .*mat1"
    with teacher.model.register_forward_pre_hook(fail), pytest.raises(ICKDError, match=expected):
        build_banks(["image"], BankOptions(), images, teacher, 4, 0)
