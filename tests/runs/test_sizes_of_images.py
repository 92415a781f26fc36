"""Networks run on training and bank images before a bank is built."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.bad_input import assert_stops
from tests.helpers.logs import lines_with
from tests.helpers.tiny import run, save_teacher, with_hook, with_teacher

CROP, SCENE = (32, 32), (48, 64)


def fixed_size(cfg: Config, size: tuple[int, int]) -> Config:
    """Set a BEiT that runs on images of this size only."""
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
    """Return a run with a teacher that runs on images of this size only."""
    toy = toys.segmenter()
    teacher = fixed_size(toy.student(), size)
    checkpoint = save_teacher(teacher, toys.new_folder() / "teacher.pth")
    return with_hook(toy.student(), teacher, checkpoint, **options)


def test_a_student_of_fixed_size_trains_with_larger_validation_images() -> None:
    toy = toys.segmenter()
    runner = run(toy.distilled(fixed_size(toy.student(), CROP), bank=dict(cache_dir=None)))
    assert runner.iter == 3
    (line,) = lines_with(toys.log_of(runner), "bank reads")
    assert "LoadImageFromFile, LoadAnnotations, PackSegInputs" in line


def test_a_student_that_cannot_run_stops_with_its_error() -> None:
    toy = toys.segmenter()
    cfg = toy.distilled(fixed_size(toy.student(), SCENE))
    assert_stops(cfg, "student", "training images of 32x32 pixels", "RuntimeError")


def test_a_teacher_that_cannot_run_on_training_images_stops_the_run() -> None:
    words = ("teacher", "training images of 32x32 pixels", "RuntimeError")
    assert_stops(taught_by(SCENE), *words)


def test_a_teacher_that_cannot_run_on_bank_images_stops_the_run() -> None:
    assert_stops(taught_by(CROP), "teacher", "memory bank", ".png", "48x64", "bank.pipeline")


RESIZED = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", scale=CROP, keep_ratio=False),
    dict(type="PackSegInputs"),
]


@pytest.mark.parametrize(
    "options",
    [dict(losses=toys.KD_ONLY), dict(bank=dict(pipeline=RESIZED, cache_dir=None))],
    ids=["no bank", "resized bank"],
)
def test_it_trains_with_a_bank_of_its_size_or_without_one(options: dict[str, Any]) -> None:
    assert run(taught_by(CROP, **options)).iter == 3


def test_a_teacher_that_learns_needs_no_deterministic_pipeline() -> None:
    cfg = with_teacher(toys.classifier().student(), dict(type="SelfTeacher"))
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
