"""Bad input of segmenters; ``test_preparation.py`` has that of classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import heads, toys
from tests.helpers.bad_input import LOAD, assert_stops, changed, changed_checkpoint
from tests.helpers.tiny import make_scenes, run, save_teacher, segmenter_config

# classes, since the heads are not registered
TWO_LAYERS = heads.TwoLayerHead
NO_LAYER = heads.UnusualHead
HOOK, TEACHER = "custom_hooks.0", "custom_hooks.0.teacher"
DATA, HEAD = "train_dataloader.dataset", "model.decode_head"
BINARY = dict(num_classes=2, out_channels=1, threshold=0.5)
Changes = dict[str, Any]


def teacher(classes: int = 3, **head: Any) -> Callable[[], Changes]:
    """Return a change to a teacher with another head."""

    def change() -> Changes:
        data = toys.segmenter().data
        cfg = segmenter_config(data, toys.new_folder(), width=16, classes=classes)
        cfg.model.decode_head.update(head)
        path = save_teacher(cfg, toys.new_folder() / "other.pth")
        return {TEACHER: dict(_delete_=True, cfg=cfg.to_dict(), checkpoint=str(path))}

    return change


def classifying_teacher() -> Changes:
    toy = toys.classifier()
    teacher = dict(cfg=toy.teacher_cfg.to_dict(), checkpoint=str(toy.checkpoint))
    return {TEACHER: dict(_delete_=True, **teacher)}


def relabelled(
    change: Callable[[np.ndarray], np.ndarray], pattern: str = "*.png"
) -> Callable[[], Changes]:
    """Return a change to label maps without void pixels, some of them changed."""

    def changes() -> Changes:
        data = make_scenes(toys.new_folder(), void=False)
        for path in (data / "ann_dir/train").glob(pattern):
            label = change(np.array(Image.open(path)))
            Image.fromarray(label.astype(np.uint8)).save(path)
        return {f"{DATA}.data_root": str(data)}

    return changes


def without(pattern: str, **options: Any) -> Callable[[], Changes]:
    """Return a change to a data set without some files."""

    def changes() -> Changes:
        data = make_scenes(toys.new_folder())
        for path in data.glob(pattern):
            path.unlink()
        return {f"{DATA}.data_root": str(data), **options}

    return changes


def pipeline(*transforms: dict[str, Any]) -> Changes:
    """Return a change to a pipeline of the bank, which loads an image first."""
    pack = dict(type="PackSegInputs")
    return {f"{HOOK}.bank": dict(pipeline=[*LOAD, *transforms, pack])}


CASES: dict[str, tuple[Changes | Callable[[], Changes], list[str]]] = {
    "level image": ({f"{HOOK}.level": "image"}, ["level='image'", "pixel"]),
    "bank queries of pixels": ({f"{HOOK}.query": "bank"}, ["query='bank'", "query='view'"]),
    "binary head": (
        {f"{HEAD}.{key}": value for key, value in BINARY.items()},
        ["out_channels=1", "sigmoid", "num_classes=2"],
    ),
    "binary teacher": (teacher(**BINARY), ["the teacher", "decode_head", "out_channels=1"]),
    "sigmoid head": (
        {f"{HEAD}.loss_decode": dict(type="CrossEntropyLoss", use_sigmoid=True)},
        ["loss_decode", "EncoderDecoder", "sigmoid"],
    ),
    "number of classes of the teacher": (
        teacher(classes=4),
        ["student", "3 classes", "teacher", "4"],
    ),
    "teacher is a classifier": (
        classifying_teacher,
        ["teacher's classifier layer", "segmenter"],
    ),
    # mmengine fails before any hook runs if it serialises the data
    "empty data set": (
        without("*/train/*", **{f"{DATA}.serialize_data": False}),
        ["empty", "data_root"],
    ),
    "one class": (
        relabelled(lambda label: np.where(label > 0, 255, 0)),
        ["pixel", "only class 0", "two classes"],
    ),
    "void alone": (
        relabelled(lambda label: np.full_like(label, 255)),
        ["pixel", "no labelled row", "two classes"],
    ),
    "label outside": (
        relabelled(lambda label: np.where(label == 2, 7, label)),
        [".png", "[7]", "3 classes (0..2)", "ignore_index"],
    ),
    "void is no class of the student": (
        {f"{HEAD}.ignore_index": 254},
        [".png", "[255]", "ignore_index"],
    ),
    "annotation missing": (
        without("ann_dir/train/4.png"),
        ["memory bank", "4.png", "FileNotFoundError"],
    ),
    "RGB label maps": (
        relabelled(lambda label: np.stack([label] * 3, axis=-1)),
        ["label map ", "ann_dir/train/0.png", "(32, 32, 3)", "one channel"],
    ),
    "label maps with alpha, KD alone": (
        lambda: {
            **relabelled(lambda label: np.stack([label] * 2, axis=-1))(),
            f"{HOOK}.losses": dict(_delete_=True, **toys.KD_ONLY),
        },
        ["label map ", "ann_dir/train/0.png", "(32, 32, 2)", "one channel"],
    ),
    "one RGB label map": (
        relabelled(lambda label: np.stack([label] * 3, axis=-1), "4.png"),
        ["memory bank", "ann_dir/train/4.png", "(48, 64, 3)", "one channel"],
    ),
    "no annotations": (pipeline(), ["label", "bank.pipeline", "LoadAnnotations"]),
    "random pipeline": (
        pipeline(dict(type="LoadAnnotations"), dict(type="RandomCrop", crop_size=(8, 8))),
        ["random", "bank.pipeline"],
    ),
    "no single classifier layer": (
        {f"{HEAD}.type": NO_LAYER},
        ["student (EncoderDecoder)", "no single layer"],
    ),
    "several classifier layers": (
        {f"{HEAD}.type": TWO_LAYERS},
        ["student (EncoderDecoder)", "several classifier layers", "Set layer"],
    ),
    "NaN weights": (
        lambda: {
            f"{TEACHER}.checkpoint": changed_checkpoint(
                toys.segmenter(), lambda s: s["decode_head.conv_seg.bias"].fill_(torch.nan)
            )
        },
        ["teacher", "NaN or Inf logits", ".png"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_of_a_segmenter_stops_the_run(name: str) -> None:
    changes, words = CASES[name]
    assert_stops(changed(toys.segmenter().distilled(), changes), *words)


def test_a_named_layer_helps_where_auto_fails() -> None:
    cfg = toys.segmenter().distilled(layer="decode_head.second")
    cfg.model.decode_head.type = TWO_LAYERS
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    runner = run(cfg)
    assert runner.iter == 3
    assert "student layer decode_head.second, teacher" in toys.log_of(runner)
