"""Teachers that share nothing with the student but the classes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from tests.helpers import toys
from tests.helpers.tiny import history, make_scenes, run, save_teacher, with_hook


def taught_by(cfg: Config, teacher_cfg: Config, **options: Any) -> Config:
    """Return the run ``cfg`` with a new random teacher."""
    checkpoint = save_teacher(teacher_cfg, toys.new_folder() / "teacher.pth")
    return with_hook(cfg, teacher_cfg, checkpoint, **options)


def strided(stride: int, align_corners: bool = False) -> Config:
    """Return the segmenters' teacher with logits at another stride."""
    cfg = copy.deepcopy(toys.segmenter().teacher_cfg)
    strides = {4: (1, 1, 1, 1), 8: (1, 2, 1, 1), 16: (1, 2, 2, 1)}[stride]
    dilations = {4: (1, 2, 4, 8), 8: (1, 1, 2, 4), 16: (1, 1, 1, 2)}[stride]
    cfg.model.backbone.update(strides=strides, dilations=dilations)
    cfg.model.decode_head.align_corners = align_corners
    return cfg


def test_a_network_that_squeezes_a_batch_of_one() -> None:
    """LeNet5 drops the batch axis of the dry run and of the last batch, each of one image."""
    load = [dict(type="LoadImageFromFile", color_type="grayscale"), dict(type="Resize", scale=32)]
    cfg = toys.classifier().student()
    cfg.model = dict(
        type="ImageClassifier",
        backbone=dict(type="LeNet5", num_classes=3),
        head=dict(type="ClsHead", loss=dict(type="CrossEntropyLoss")),
    )
    cfg.data_preprocessor = dict(mean=[120], std=[60], num_classes=3)
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.pipeline = [*load, dict(type="PackInputs")]
    runner = run(taught_by(cfg, cfg, bank=dict(batch_size=17, cache_dir=None)))
    assert "18 rows of 3/3 classes" in toys.log_of(runner)
    assert all(v > 0 for v in history(runner, "loss_picd"))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stride", [4, 16])
def test_the_teachers_grid_may_differ(stride: int, align_corners: bool) -> None:
    student = toys.segmenter().student()
    cfg = taught_by(student, strided(stride, align_corners), level=["pixel", "region"])
    runner = run(cfg)
    for name in ("loss_kd", "loss_nicd_pixel", "loss_nicd_region"):
        assert all(0 < v < 100 for v in history(runner, name)), name


def test_teacher_of_another_architecture() -> None:
    teacher = copy.deepcopy(toys.segmenter().teacher_cfg)
    teacher.model.decode_head = dict(
        type="PSPHead",
        in_channels=128,
        in_index=3,
        channels=24,
        pool_scales=(1, 2),
        num_classes=3,
        norm_cfg=dict(type="BN"),
        align_corners=True,
        loss_decode=dict(type="CrossEntropyLoss"),
    )
    teacher.model.auxiliary_head = dict(
        type="FCNHead",
        in_channels=64,
        in_index=2,
        channels=8,
        num_convs=1,
        num_classes=3,
        norm_cfg=dict(type="SyncBN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    )
    runner = run(taught_by(toys.segmenter().student(), teacher))
    assert all(v > 0 for v in history(runner, "loss_kd"))
    assert "24 float16 features" in toys.log_of(runner)


def test_a_classifier_layer_of_an_unusual_name_is_found() -> None:
    teacher = copy.deepcopy(toys.classifier().teacher_cfg)
    teacher.model.head = dict(
        type="StackedLinearClsHead", num_classes=3, in_channels=128, mid_channels=[20]
    )
    runner = run(taught_by(toys.classifier().student(), teacher))
    log = toys.log_of(runner)
    assert "student layer head.fc, teacher layer head.layers.1.fc" in log
    assert "20 float16 features" in log
    assert all(v > 0 for v in history(runner, "loss_kd"))


class InputRecorder(Hook):
    """Records the images of the first batch and the teacher's input for them."""

    def __init__(self) -> None:
        self.teacher_input: torch.Tensor | None = None
        self.images: torch.Tensor | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if self.images is not None:
            return
        self.images = torch.stack(list(data_batch["inputs"])).float()
        teacher = toys.hook_of(runner).distiller.teacher

        def keep(module: Any, args: Any) -> None:
            self.teacher_input = args[0].clone()
            handle.remove()

        handle = teacher.model.backbone.register_forward_pre_hook(keep)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_teacher_gets_its_normalisation_and_channel_order(scope: str) -> None:
    toy = toys.toy(scope)
    teacher = copy.deepcopy(toy.teacher_cfg)
    mean, std = [100.0, 90.0, 80.0], [30.0, 40.0, 50.0]
    if scope == "mmpretrain":
        teacher.data_preprocessor.update(mean=mean, std=std, to_rgb=False)
    else:
        teacher.model.data_preprocessor.update(mean=mean, std=std, bgr_to_rgb=False)
    recorder = InputRecorder()
    run(taught_by(toy.student(), teacher), recorder)
    expected = (recorder.images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    torch.testing.assert_close(recorder.teacher_input, expected, rtol=1e-4, atol=1e-4)


def test_the_same_normalisation_keeps_the_input_bit_for_bit() -> None:
    recorder = InputRecorder()
    preprocessor = run(toys.classifier().distilled(), recorder).model.data_preprocessor
    rgb = recorder.images.flip(1)
    assert torch.equal(recorder.teacher_input, (rgb - preprocessor.mean) / preprocessor.std)


def test_the_teachers_config_may_be_a_model_alone() -> None:
    toy = toys.classifier()
    cfg = toy.distilled()
    model = toy.teacher_cfg.model.to_dict()
    model["data_preprocessor"] = {
        "type": "ClsDataPreprocessor",
        **toy.teacher_cfg.data_preprocessor.to_dict(),
    }
    cfg.custom_hooks[0].teacher.cfg = model
    reference = run(toy.distilled())
    assert history(run(cfg), "loss_kd") == history(reference, "loss_kd")


def test_the_last_head_of_a_cascade_is_distilled() -> None:
    student = toys.segmenter().student()
    head = student.model.decode_head
    first = dict(head, in_channels=32, in_index=2, dropout_ratio=0)
    ocr = dict(
        type="OCRHead",
        in_channels=64,
        in_index=3,
        channels=16,
        ocr_channels=8,
        num_classes=3,
        norm_cfg=dict(type="BN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    )
    student.model.update(type="CascadeEncoderDecoder", num_stages=2, decode_head=[first, ocr])
    cfg = toys.segmenter().distilled(student)
    runner = run(cfg)
    assert "student layer decode_head.1.conv_seg" in toys.log_of(runner)
    assert all(v > 0 for v in history(runner, "loss_kd"))


def test_the_ignore_index_is_that_of_the_students_head() -> None:
    data = make_scenes(toys.new_folder())
    for path in data.glob("ann_dir/*/*.png"):
        label = np.array(Image.open(path))
        label[label == 255] = 3
        Image.fromarray(label).save(path)
    banks = []
    for ignore, root in ((255, toys.segmenter().data), (3, data)):
        cache = toys.new_folder()
        cfg = toys.segmenter().distilled(bank=dict(cache_dir=str(cache)))
        cfg.model.decode_head.ignore_index = ignore
        cfg.model.data_preprocessor.seg_pad_val = ignore
        cfg.train_dataloader.dataset.update(data_root=str(root), ignore_index=ignore)
        run(cfg)
        banks.append(toys.cached_banks(cache)["pixel"])
    assert torch.equal(banks[0]["labels"], banks[1]["labels"])
    assert int(banks[1]["labels"].max()) == 2
