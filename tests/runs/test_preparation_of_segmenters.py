"""Bad input of segmenters; see ``test_preparation.py`` for that of classifiers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tests.helpers import heads, toys
from tests.helpers.bad_input import LOAD, assert_stops, state_of
from tests.helpers.tiny import make_scenes, run, save_teacher, segmenter_config

# its heads are registered under names of their own
TWO_LAYERS = heads.TwoLayerHead
NO_LAYER = heads.UnusualHead


def segmenter_case(name: str) -> tuple[Config, list[str]]:
    toy = toys.segmenter()
    cfg = toy.distilled()
    hook = cfg.custom_hooks[0]
    if name == "level image":
        hook.level = "image"
        return cfg, ["level='image' does not fit", "pixel and region"]
    if name == "bank queries of pixels":
        hook.query = "bank"
        return cfg, ["query='bank'", "query='view'"]
    if name == "binary head":
        cfg.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.5)
        return cfg, ["out_channels=1", "sigmoid", "num_classes=2"]
    if name == "binary teacher":
        teacher_cfg = copy.deepcopy(toy.teacher_cfg)
        teacher_cfg.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.5)
        path = save_teacher(teacher_cfg, toys.new_folder() / "binary.pth")
        hook.teacher = dict(cfg=teacher_cfg.to_dict(), checkpoint=str(path))
        return cfg, ["student tells 3 classes apart, the teacher 1"]
    if name == "number of classes of the teacher":
        teacher_cfg = segmenter_config(toy.data, toys.new_folder(), width=16, classes=4)
        path = save_teacher(teacher_cfg, toys.new_folder() / "four.pth")
        hook.teacher = dict(cfg=teacher_cfg.to_dict(), checkpoint=str(path))
        return cfg, ["student tells 3 classes apart, the teacher 4", "same classes"]
    if name == "teacher is a classifier":
        teacher = toys.classifier()
        hook.teacher = dict(cfg=teacher.teacher_cfg.to_dict(), checkpoint=str(teacher.checkpoint))
        return cfg, ["teacher's classifier layer gives features", "segmenter"]
    if name == "empty data set":
        data = make_scenes(toys.new_folder())
        for folder in ("img_dir", "ann_dir"):
            for path in (data / folder / "train").iterdir():
                path.unlink()
        # serialised, it fails in mmengine, before any hook is asked
        cfg.train_dataloader.dataset.update(data_root=str(data), serialize_data=False)
        return cfg, ["training data set is empty", "data_root"]
    if name in ("one class", "void alone", "label outside"):
        data = make_scenes(toys.new_folder(), void=False)
        for path in (data / "ann_dir/train").iterdir():
            label = np.array(Image.open(path))
            new = {"one class": np.where(label > 0, 255, 0), "void alone": 255 + 0 * label}
            label = new.get(name, np.where(label == 2, 7, label)).astype(np.uint8)
            Image.fromarray(label).save(path)
        cfg.train_dataloader.dataset.data_root = str(data)
        words = {
            "one class": ["(pixel level) only class 0", "two classes"],
            "void alone": ["(pixel level) no labelled row", "two classes"],
            "label outside": [".png is labelled [7]", "3 classes (0..2)", "ignore_index"],
        }
        return cfg, words[name]
    if name == "void is no class of the student":
        cfg.model.decode_head.ignore_index = 254
        return cfg, [".png is labelled [255]", "ignore_index of the student's head"]
    if name == "annotation missing":
        data = make_scenes(toys.new_folder())
        (data / "ann_dir/train/4.png").unlink()
        cfg.train_dataloader.dataset.data_root = str(data)
        return cfg, ["memory bank cannot be built", "4.png", "FileNotFoundError"]
    if name == "no annotations":
        hook.bank = dict(pipeline=[*LOAD, dict(type="PackSegInputs")])
        return cfg, ["gives no label", "bank.pipeline", "LoadAnnotations"]
    if name == "random pipeline":
        crop = dict(type="RandomCrop", crop_size=(8, 8))
        annotated = [*LOAD, dict(type="LoadAnnotations")]
        hook.bank = dict(pipeline=[*annotated, crop, dict(type="PackSegInputs")])
        return cfg, ["is random", "came out in two ways", "bank.pipeline"]
    if name == "no single classifier layer":
        cfg.model.decode_head.type = NO_LAYER
        return cfg, ["student (EncoderDecoder) has no single layer", "Set layer", "decode_head"]
    if name == "several classifier layers":
        cfg.model.decode_head.type = TWO_LAYERS
        return cfg, ["student (EncoderDecoder) has several classifier layers", "Set layer"]
    if name == "NaN weights":
        path = state_of(toy, lambda s: s["decode_head.conv_seg.bias"].fill_(torch.nan))
        hook.teacher.checkpoint = path
        return cfg, ["teacher gives NaN or Inf logits for", ".png"]
    raise AssertionError(name)


SEGMENTER_CASES = [
    "level image",
    "bank queries of pixels",
    "binary head",
    "binary teacher",
    "number of classes of the teacher",
    "teacher is a classifier",
    "empty data set",
    "one class",
    "void alone",
    "label outside",
    "void is no class of the student",
    "annotation missing",
    "no annotations",
    "random pipeline",
    "no single classifier layer",
    "several classifier layers",
    "NaN weights",
]


@pytest.mark.parametrize("name", SEGMENTER_CASES)
def test_segmenter_stops(name: str) -> None:
    cfg, words = segmenter_case(name)
    assert_stops(cfg, *words)


def test_explicit_layers_help_where_auto_fails() -> None:
    cfg = toys.segmenter().distilled(layer="decode_head.second")
    cfg.model.decode_head.type = TWO_LAYERS
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    runner = run(cfg)
    assert runner.iter == 3
    assert "student layer decode_head.second, teacher" in toys.log_of(runner)
