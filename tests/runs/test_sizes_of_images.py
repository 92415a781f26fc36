"""Networks are tried on the images that they will meet, before a bank is built."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.bad_input import assert_stops
from tests.helpers.tiny import run, save_teacher

CROP, SCENE = (32, 32), (48, 64)


def of_one_size(cfg: Config, size: tuple[int, int]) -> Config:
    """A segmenter whose BEiT has positions for images of this size only."""
    cfg.model.backbone = dict(
        type="BEiT",
        img_size=size,
        patch_size=8,
        embed_dims=16,
        num_layers=2,
        num_heads=2,
        out_indices=(1,),
    )
    cfg.model.decode_head.update(in_channels=16, in_index=0)
    cfg.model.test_cfg = dict(mode="slide", crop_size=size, stride=size)
    return cfg


def taught_by(size: tuple[int, int], **options: Any) -> Config:
    """A run with a teacher for images of this size only."""
    toy = toys.segmenter()
    teacher = of_one_size(toy.student(), size)
    cfg = toy.distilled(**options)
    checkpoint = save_teacher(teacher, toys.new_folder() / "teacher.pth")
    cfg.custom_hooks[0].teacher = dict(cfg=teacher.to_dict(), checkpoint=str(checkpoint))
    return cfg


def test_a_student_of_one_size_trains_beside_larger_images_of_validation() -> None:
    toy = toys.segmenter()
    runner = run(toy.distilled(of_one_size(toy.student(), CROP), bank=dict(cache_dir=None)))
    assert runner.iter == 3
    (line,) = [line for line in toys.log_of(runner).splitlines() if "bank reads" in line]
    assert line.endswith(
        "LoadImageFromFile, LoadAnnotations, PackSegInputs (of the validation set)"
    )


def test_a_student_that_cannot_run_stops_with_its_error() -> None:
    toy = toys.segmenter()
    cfg = toy.distilled(of_one_size(toy.student(), SCENE))
    assert_stops(cfg, "the student cannot run on training images of 32x32 pixels (RuntimeError")


def test_a_teacher_of_one_size_meets_the_training_images_before_the_bank_is_built() -> None:
    words = "the teacher cannot run on training images of 32x32 pixels (RuntimeError"
    assert_stops(taught_by(SCENE), words, "train on images of its size")


def test_a_teacher_of_one_size_meets_an_image_of_the_bank_before_it_is_built() -> None:
    words = "the teacher cannot run on an image that the memory bank reads, "
    assert_stops(
        taught_by(CROP), words, ".png, of 48x64 pixels", "Set bank.pipeline to transforms that make"
    )


@pytest.mark.parametrize("without_bank", [True, False])
def test_it_trains_with_a_bank_of_its_size_or_without_one(without_bank: bool) -> None:
    loads = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
    shrinks = dict(type="Resize", scale=CROP, keep_ratio=False)
    pipeline = [*loads, shrinks, dict(type="PackSegInputs")]
    options: dict[str, Any] = (
        dict(losses=toys.KD_ONLY)
        if without_bank
        else dict(bank=dict(pipeline=pipeline, cache_dir=None))
    )
    assert run(taught_by(CROP, **options)).iter == 3


def test_a_teacher_that_learns_needs_no_pipeline_without_chance() -> None:
    cfg = toys.classifier().student()
    cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=dict(type="SelfTeacher"))]
    for split in ("val", "test"):
        for key in ("dataloader", "evaluator", "cfg"):
            cfg[f"{split}_{key}"] = None
    assert run(cfg).iter == 3


def test_another_size_of_a_classifiers_bank_is_reported() -> None:
    enlarge = dict(type="Resize", scale=(32, 32))
    pipeline = [dict(type="LoadImageFromFile"), enlarge, dict(type="PackInputs")]
    runner = run(toys.classifier().distilled(bank=dict(pipeline=pipeline, cache_dir=None)))
    assert "bank_image_size" in [finding.code for finding in toys.hook_of(runner).findings]
    assert all(size in toys.log_of(runner) for size in ("32x32", "16x16"))
