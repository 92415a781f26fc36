"""Bad input of segmenters; see ``test_preparation.py`` for that of classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import heads, toys
from tests.helpers.bad_input import LOAD, assert_stops, changed, state_of
from tests.helpers.tiny import make_scenes, run, save_teacher, segmenter_config

# its heads are registered under names of their own
TWO_LAYERS = heads.TwoLayerHead
NO_LAYER = heads.UnusualHead
HOOK, TEACHER = "custom_hooks.0", "custom_hooks.0.teacher"
DATA, HEAD = "train_dataloader.dataset", "model.decode_head"
BINARY = dict(num_classes=2, out_channels=1, threshold=0.5)
Changes = dict[str, Any]


def teacher(classes: int = 3, **head: Any) -> Callable[[], Changes]:
    """A teacher with another head."""

    def change() -> Changes:
        data = toys.segmenter().data
        cfg = segmenter_config(data, toys.new_folder(), width=16, classes=classes)
        cfg.model.decode_head.update(head)
        path = save_teacher(cfg, toys.new_folder() / "other.pth")
        return {TEACHER: dict(_delete_=True, cfg=cfg.to_dict(), checkpoint=str(path))}

    return change


def classifying_teacher() -> Changes:
    toy = toys.classifier()
    own = dict(cfg=toy.teacher_cfg.to_dict(), checkpoint=str(toy.checkpoint))
    return {TEACHER: dict(_delete_=True, **own)}


def relabelled(
    change: Callable[[np.ndarray], np.ndarray], pattern: str = "*.png"
) -> Callable[[], Changes]:
    """Label maps without void, some of them changed."""

    def changes() -> Changes:
        data = make_scenes(toys.new_folder(), void=False)
        for path in (data / "ann_dir/train").glob(pattern):
            label = change(np.array(Image.open(path)))
            Image.fromarray(label.astype(np.uint8)).save(path)
        return {f"{DATA}.data_root": str(data)}

    return changes


def without(pattern: str, **options: Any) -> Callable[[], Changes]:
    """A data set without some files."""

    def changes() -> Changes:
        data = make_scenes(toys.new_folder())
        for path in data.glob(pattern):
            path.unlink()
        return {f"{DATA}.data_root": str(data), **options}

    return changes


def pipeline(*transforms: dict[str, Any]) -> Changes:
    """Of the bank, after loading."""
    pack = dict(type="PackSegInputs")
    return {f"{HOOK}.bank": dict(pipeline=[*LOAD, *transforms, pack])}


CASES: dict[str, tuple[Changes | Callable[[], Changes], list[str]]] = {
    "level image": ({f"{HOOK}.level": "image"}, ["level='image' does not fit", "pixel and region"]),
    "bank queries of pixels": ({f"{HOOK}.query": "bank"}, ["query='bank'", "query='view'"]),
    "binary head": (
        {f"{HEAD}.{key}": value for key, value in BINARY.items()},
        ["out_channels=1", "sigmoid", "num_classes=2"],
    ),
    "binary teacher": (teacher(**BINARY), ["the teacher: the decode_head", "out_channels=1"]),
    "sigmoid head": (
        {f"{HEAD}.loss_decode": dict(type="CrossEntropyLoss", use_sigmoid=True)},
        ["loss_decode of EncoderDecoder's decode_head", "own sigmoid"],
    ),
    "number of classes of the teacher": (
        teacher(classes=4),
        ["student tells 3 classes apart, the teacher 4", "same classes"],
    ),
    "teacher is a classifier": (
        classifying_teacher,
        ["teacher's classifier layer", "segmenter"],
    ),
    # serialised, it fails in mmengine, before any hook is asked
    "empty data set": (
        without("*/train/*", **{f"{DATA}.serialize_data": False}),
        ["training data set is empty", "data_root"],
    ),
    "one class": (
        relabelled(lambda label: np.where(label > 0, 255, 0)),
        ["(pixel level) only class 0", "two classes"],
    ),
    "void alone": (
        relabelled(lambda label: np.full_like(label, 255)),
        ["(pixel level) no labelled row", "two classes"],
    ),
    "label outside": (
        relabelled(lambda label: np.where(label == 2, 7, label)),
        [".png is labelled [7]", "3 classes (0..2)", "ignore_index"],
    ),
    "void is no class of the student": (
        {f"{HEAD}.ignore_index": 254},
        [".png is labelled [255]", "ignore_index of the student's head"],
    ),
    "annotation missing": (
        without("ann_dir/train/4.png"),
        ["memory bank cannot be built", "4.png", "FileNotFoundError"],
    ),
    "RGB label maps": (
        relabelled(lambda label: np.stack([label] * 3, axis=-1)),
        ["label map ", "ann_dir/train/0.png", "(32, 32, 3)", "one channel"],
    ),
    "label maps of gray and alpha, KD alone": (
        lambda: {
            **relabelled(lambda label: np.stack([label] * 2, axis=-1))(),
            f"{HOOK}.losses": dict(_delete_=True, **toys.KD_ONLY),
        },
        ["label map ", "ann_dir/train/0.png", "(32, 32, 2)", "one channel"],
    ),
    "an RGB label map later on": (
        relabelled(lambda label: np.stack([label] * 3, axis=-1), "4.png"),
        ["memory bank cannot be built", "ann_dir/train/4.png", "(48, 64, 3)", "one channel"],
    ),
    "no annotations": (pipeline(), ["gives no label", "bank.pipeline", "LoadAnnotations"]),
    "random pipeline": (
        pipeline(dict(type="LoadAnnotations"), dict(type="RandomCrop", crop_size=(8, 8))),
        ["is random", "came out in two ways", "bank.pipeline"],
    ),
    "no single classifier layer": (
        {f"{HEAD}.type": NO_LAYER},
        ["student (EncoderDecoder) has no single layer", "use a model that ends in one"],
    ),
    "several classifier layers": (
        {f"{HEAD}.type": TWO_LAYERS},
        ["student (EncoderDecoder) has several classifier layers", "Set layer"],
    ),
    "NaN weights": (
        lambda: {
            f"{TEACHER}.checkpoint": state_of(
                toys.segmenter(), lambda s: s["decode_head.conv_seg.bias"].fill_(torch.nan)
            )
        },
        ["teacher gives NaN or Inf logits for", ".png"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_segmenter_stops(name: str) -> None:
    changes, words = CASES[name]
    assert_stops(changed(toys.segmenter().distilled(), changes), *words)


def test_explicit_layers_help_where_auto_fails() -> None:
    cfg = toys.segmenter().distilled(layer="decode_head.second")
    cfg.model.decode_head.type = TWO_LAYERS
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    runner = run(cfg)
    assert runner.iter == 3
    assert "student layer decode_head.second, teacher" in toys.log_of(runner)
