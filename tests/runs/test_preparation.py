"""Bad input stops a run before its first step, with what is wrong, where, and what to do."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.bad_input import LOAD, assert_stops, state_of, teacher_of
from tests.helpers.tiny import (
    build,
    classifier_config,
    make_class_folders,
    plain_config_text,
    run,
    save_teacher,
)


def classifier_case(name: str) -> tuple[Config, list[str]]:
    toy = toys.classifier()
    cfg = toy.distilled()
    teacher = teacher_of(cfg)
    if name == "config missing":
        teacher.cfg = "configs/teachers/nowhere.py"
        return cfg, ["teacher.cfg", "configs/teachers/nowhere.py", "does not exist"]
    if name == "config of a package missing":
        teacher.cfg = "mmpretrain::resnet/nowhere.py"
        return cfg, ["teacher.cfg", "mmpretrain::resnet/nowhere.py", "does not exist"]
    if name == "config without a model":
        teacher.cfg = dict(optimizer=dict(), model=dict())
        return cfg, ["teacher.cfg has no model"]
    if name == "config of an unknown model":
        teacher.cfg.model.backbone.type = "ResNot"
        return cfg, ["teacher.cfg cannot be built", "ResNot"]
    if name == "broken config file":
        path = toys.new_folder() / "broken.py"
        path.write_text("model = dict(\n")
        teacher.cfg = str(path)
        return cfg, ["teacher.cfg", "broken.py", "cannot be read"]
    if name == "checkpoint not set":
        del teacher["checkpoint"]
        return cfg, ["teacher.checkpoint is not set"]
    if name == "checkpoint missing":
        teacher.checkpoint = "/nowhere/teacher.pth"
        return cfg, ["teacher.checkpoint", "/nowhere/teacher.pth", "does not exist", "Train the"]
    if name == "checkpoint truncated":
        path = toys.new_folder() / "short.pth"
        path.write_bytes(toy.checkpoint.read_bytes()[:5000])
        teacher.checkpoint = str(path)
        return cfg, ["teacher.checkpoint", "short.pth", "truncated"]
    if name == "checkpoint is text":
        path = toys.new_folder() / "text.pth"
        path.write_text("no weights\n" * 9)
        teacher.checkpoint = str(path)
        return cfg, ["teacher.checkpoint", "text.pth", "no checkpoint"]
    if name == "checkpoint is a list":
        path = toys.new_folder() / "list.pth"
        torch.save([1, 2], path)
        teacher.checkpoint = str(path)
        return cfg, ["teacher.checkpoint", "list.pth", "holds no dict of weights"]
    if name == "checkpoint would run code":
        path = toys.new_folder() / "code.pth"
        torch.save(dict(state_dict={}, hook=Path), path)
        teacher.checkpoint = str(path)
        return cfg, ["teacher.checkpoint", "code.pth", "trust_checkpoint=True"]
    if name == "checkpoint of another width":
        teacher.cfg.model.backbone.base_channels = 8
        return cfg, ["does not fit teacher.cfg", "of another shape", "backbone."]
    if name == "checkpoint of another architecture":
        teacher.checkpoint = str(toys.segmenter().checkpoint)
        return cfg, ["does not fit teacher.cfg", "missing: ", "unexpected: backbone.stem", "more)"]
    if name == "keys missing":
        teacher.checkpoint = state_of(toy, lambda state: state.pop("head.fc.weight"))
        return cfg, ["does not fit teacher.cfg (1 missing: head.fc.weight)"]
    if name == "keys unexpected":
        teacher.checkpoint = state_of(toy, lambda s: s.update({"head.extra": torch.ones(1)}))
        return cfg, ["does not fit teacher.cfg (1 unexpected: head.extra)"]
    if name == "NaN weights":
        teacher.checkpoint = state_of(toy, lambda s: s["backbone.conv1.weight"].fill_(torch.nan))
        return cfg, ["teacher gives NaN or Inf features for", ".png", "checkpoint"]
    if name == "NaN classifier":
        teacher.checkpoint = state_of(toy, lambda s: s["head.fc.weight"].fill_(torch.inf))
        return cfg, ["teacher gives NaN or Inf logits for", ".png"]
    if name == "order of classes":
        names = dict(classes=("c0", "c2", "c1"))
        teacher.checkpoint = state_of(toy, lambda s: None, dataset_meta=names)
        return cfg, ["another order", "class 1 is 'c1' in the training set and 'c2' in the teacher"]
    if name == "number of classes of the data":
        data = make_class_folders(toys.new_folder(), classes=4)
        cfg.train_dataloader.dataset.data_root = str(data)
        return cfg, ["training set has 4 classes", "have 3", "num_classes"]
    if name == "teacher's layer wrong":
        teacher.layer = "head.fcc"
        return cfg, ["ImageClassifier has no layer 'head.fcc'", "Did you mean 'head.fc'"]
    if name == "student's layer wrong":
        cfg.custom_hooks[0].layer = "head.classifier"
        return cfg, ["ImageClassifier has no layer 'head.classifier'"]
    if name == "student's layer is not one":
        cfg.custom_hooks[0].layer = "backbone.bn1"
        return cfg, ["no classifier layer", "Linear or Conv"]
    if name == "teacher's layer of images":
        teacher.layer = "backbone.layer4.1.conv2"
        return cfg, ["teacher's classifier layer gives features", "teacher.layer"]
    if name == "level pixel":
        cfg.custom_hooks[0].level = "pixel"
        return cfg, ["level='pixel' does not fit", "image", "classifiers have images"]
    if name == "multi-label head":
        cfg.model.head = dict(type="MultiLabelLinearClsHead", num_classes=3, in_channels=64)
        return cfg, ["MultiLabelLinearClsHead", "sigmoid", "single-label"]
    if name == "one class":
        data = make_class_folders(toys.new_folder())
        for label in (1, 2):
            shutil.rmtree(data / f"train/c{label}")
            (data / f"train/c{label}").mkdir()
        cfg.train_dataloader.dataset.update(data_root=str(data), extensions=(".png",))
        ann = data / "train.txt"
        ann.write_text("".join(f"c0/{n}.png 0\n" for n in range(6)))
        cfg.train_dataloader.dataset.update(
            ann_file=str(ann), metainfo=dict(classes=["c0", "c1", "c2"])
        )
        return cfg, ["only class 0", "two classes"]
    if name == "label outside":
        data = make_class_folders(toys.new_folder())
        ann = data / "train.txt"
        ann.write_text("".join(f"c{c}/{n}.png {c + c // 2}\n" for n in range(6) for c in range(3)))
        cfg.train_dataloader.dataset.update(
            data_root=str(data), ann_file=str(ann), metainfo=dict(classes=["c0", "c1", "c2"])
        )
        return cfg, ["c2/", ".png is labelled [3]", "3 classes (0..2)"]
    if name in ("unreadable image", "unreadable first image"):
        image = "c0/0.png" if "first" in name else "c1/3.png"
        data = make_class_folders(toys.new_folder())
        (data / "train" / image).write_bytes(b"no picture")
        cfg.train_dataloader.dataset.data_root = str(data)
        return cfg, ["memory bank", image, "Error: "]
    if name == "image missing":
        data = make_class_folders(toys.new_folder())
        ann = data / "train.txt"
        names = [f"c{c}/{n}.png {c}" for n in range(6) for c in range(3)] + ["c0/gone.png 0"]
        ann.write_text("\n".join(names))
        cfg.train_dataloader.dataset.update(
            data_root=str(data), ann_file=str(ann), metainfo=dict(classes=["c0", "c1", "c2"])
        )
        return cfg, ["memory bank cannot be built", "c0/gone.png", "FileNotFoundError"]
    if name == "random pipeline":
        flip = dict(type="RandomFlip", prob=0.5, direction="horizontal")
        cfg.custom_hooks[0].bank = dict(
            pipeline=[
                *LOAD,
                flip,
                dict(type="ColorJitter", brightness=0.9),
                dict(type="PackInputs"),
            ]
        )
        return cfg, ["is random", "came out in two ways", "bank.pipeline"]
    if name == "unknown transform":
        cfg.custom_hooks[0].bank = dict(pipeline=[*LOAD, dict(type="PackInput")])
        return cfg, ["bank.pipeline", "PackInput"]
    if name == "pipeline without packing":
        cfg.custom_hooks[0].bank = dict(pipeline=LOAD)
        return cfg, ["bank.pipeline", "PackInputs"]
    if name == "training pipeline without paths":
        pack = cfg.train_dataloader.dataset.pipeline[-1]
        pack.meta_keys = ("ori_shape", "img_shape")
        return cfg, ["drops 'img_path'", "meta_keys", "exclude_same_id=False"]
    if name == "teacher of larger images":
        alexnet = copy.deepcopy(toy.teacher_cfg)
        alexnet.model = dict(
            type="ImageClassifier",
            backbone=dict(type="AlexNet", num_classes=3),
            head=dict(type="ClsHead", loss=dict(type="CrossEntropyLoss")),
        )
        path = save_teacher(alexnet, toys.new_folder() / "alexnet.pth")
        teacher.cfg, teacher.checkpoint = alexnet.to_dict(), str(path)
        return cfg, ["teacher cannot run on a training image of 16x16 pixels", "bank.pipeline"]
    raise AssertionError(name)


CLASSIFIER_CASES = [
    "config missing",
    "config of a package missing",
    "config without a model",
    "config of an unknown model",
    "broken config file",
    "checkpoint not set",
    "checkpoint missing",
    "checkpoint truncated",
    "checkpoint is text",
    "checkpoint is a list",
    "checkpoint would run code",
    "checkpoint of another width",
    "checkpoint of another architecture",
    "keys missing",
    "keys unexpected",
    "NaN weights",
    "NaN classifier",
    "order of classes",
    "number of classes of the data",
    "teacher's layer wrong",
    "student's layer wrong",
    "student's layer is not one",
    "teacher's layer of images",
    "level pixel",
    "multi-label head",
    "one class",
    "label outside",
    "unreadable image",
    "unreadable first image",
    "image missing",
    "random pipeline",
    "unknown transform",
    "pipeline without packing",
    "training pipeline without paths",
    "teacher of larger images",
]


@pytest.mark.parametrize("name", CLASSIFIER_CASES)
def test_classifier_stops(name: str) -> None:
    cfg, words = classifier_case(name)
    assert_stops(cfg, *words)


def test_files_are_looked_for_before_the_student_is_initialised() -> None:
    cfg, _ = classifier_case("checkpoint missing")
    runner = build(cfg)
    with pytest.raises(ICKDError), plain_config_text():
        runner.train()
    assert not getattr(runner.model, "_is_init", False)


def test_names_of_classes_may_differ_in_case_only() -> None:
    toy = toys.classifier()
    cfg = toy.distilled()
    names = dict(classes=("C0", "C1", "C2"))
    teacher_of(cfg).checkpoint = state_of(toy, lambda s: None, dataset_meta=names)
    assert run(cfg).iter == 3


def test_a_random_pipeline_of_validation_is_not_needed_to_train() -> None:
    # without a validation set the bank is read by the training pipeline without its random part
    toy = toys.classifier()
    cfg = toy.distilled(bank=dict(cache_dir=None))
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    runner = run(cfg)
    assert "18 rows of 3/3 classes" in toys.log_of(runner)


def test_unused_classifier_config_is_not_touched() -> None:
    # the dict that a user's config shares between teacher and run stays as it was
    cfg = toys.classifier().distilled()
    before = teacher_of(cfg).cfg.copy()
    run(cfg)
    assert teacher_of(cfg).cfg == before
    assert (
        classifier_config(toys.classifier().data, toys.new_folder(), width=16).model == before.model
    )
