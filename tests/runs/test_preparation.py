"""Bad input stops a run before its first step; the message names the option or the file."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmickd.commands.open_run import open_run
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.bad_input import (
    LOAD,
    assert_stops,
    changed,
    changed_checkpoint,
    teacher_of,
    write_file,
)
from tests.helpers.tiny import (
    build,
    classifier_config,
    make_class_folders,
    plain_config_text,
    run,
    save_teacher,
    train,
)

HOOK, TEACHER = "custom_hooks.0", "custom_hooks.0.teacher"
DATA = "train_dataloader.dataset"
KD_ALONE = dict(_delete_=True, **toys.KD_ONLY)
SIGMOID = dict(type="CrossEntropyLoss", use_sigmoid=True)
Changes = dict[str, Any]


def weights(change: Callable[[dict[str, Any]], Any], **meta: Any) -> Callable[[], Changes]:
    """Return a change of the weights in the teacher's checkpoint."""
    return lambda: {f"{TEACHER}.checkpoint": changed_checkpoint(toys.classifier(), change, **meta)}


def checkpoint(name: str, content: Any) -> Callable[[], Changes]:
    """Return a change to a checkpoint of this content."""
    return lambda: {f"{TEACHER}.checkpoint": write_file(name, content)}


def folders(**kwargs: Any) -> Path:
    return make_class_folders(toys.new_folder(), **kwargs)


def listed(data: Path, lines: list[str]) -> Changes:
    """Return a change to a data set that lists its images in a file."""
    (data / "train.txt").write_text("\n".join(lines))
    return {
        f"{DATA}.data_root": str(data),
        f"{DATA}.ann_file": str(data / "train.txt"),
        f"{DATA}.metainfo": dict(classes=["c0", "c1", "c2"]),
    }


def images(label: Callable[[int], int]) -> list[str]:
    return [f"c{c}/{n}.png {label(c)}" for n in range(6) for c in range(3)]


def one_class() -> Changes:
    data = folders()
    for label in (1, 2):
        shutil.rmtree(data / f"train/c{label}")
    return listed(data, images(lambda c: 0)[::3])


def unreadable(image: str) -> Callable[[], Changes]:
    def change() -> Changes:
        data = folders()
        (data / "train" / image).write_bytes(b"no picture")
        return {f"{DATA}.data_root": str(data)}

    return change


def larger_images() -> Changes:
    alexnet = copy.deepcopy(toys.classifier().teacher_cfg)
    alexnet.model = dict(
        type="ImageClassifier",
        backbone=dict(type="AlexNet", num_classes=3),
        head=dict(type="ClsHead", loss=dict(type="CrossEntropyLoss")),
    )
    path = save_teacher(alexnet, toys.new_folder() / "alexnet.pth")
    return {TEACHER: dict(_delete_=True, cfg=alexnet.to_dict(), checkpoint=str(path))}


def several_tasks() -> Changes:
    """Return a change to a data set with one class per task."""
    list_file = toys.new_folder() / "tasks.json"
    pictures = [
        dict(img_path=str(path), gt_label=dict(kind=int(path.parent.name[1])))
        for path in sorted(toys.classifier().data.glob("train/*/*.png"))
    ]
    list_file.write_text(json.dumps(dict(metainfo=dict(tasks=["kind"]), data_list=pictures)))
    pack = dict(type="PackMultiTaskInputs", multi_task_fields=["gt_label"])
    data = dict(type="MultiTaskDataset", ann_file=str(list_file), pipeline=[*LOAD, pack])
    return {DATA: dict(_delete_=True, **data)}


def several_labels() -> Changes:
    """Return a change to a data set with several labels per image; the head has one."""
    data = folders()
    pictures = [dict(img_path=f"c{c}/0.png", gt_label=[c, 2]) for c in range(2)]
    (data / "train/several.json").write_text(
        json.dumps(dict(metainfo=dict(classes=["a", "b", "c"]), data_list=pictures))
    )
    kind = dict(type="MultiLabelDataset", data_root=str(data / "train"), ann_file="several.json")
    return {
        DATA: dict(_delete_=True, **kind, pipeline=[*LOAD, dict(type="PackInputs")]),
        f"{HOOK}.losses": KD_ALONE,
    }


def pipeline(*transforms: dict[str, Any]) -> Changes:
    """Return a change to a pipeline of the bank, which loads an image first."""
    return {f"{HOOK}.bank": dict(pipeline=[*LOAD, *transforms])}


CASES: dict[str, tuple[Changes | Callable[[], Changes], list[str]]] = {
    "config missing": (
        {f"{TEACHER}.cfg": "configs/teachers/nowhere.py"},
        ["teacher.cfg", "configs/teachers/nowhere.py"],
    ),
    "config of a package missing": (
        {f"{TEACHER}.cfg": "mmpretrain::resnet/nowhere.py"},
        ["teacher.cfg", "mmpretrain::resnet/nowhere.py"],
    ),
    "config without a model": (
        {f"{TEACHER}.cfg.model": dict(_delete_=True)},
        ["teacher.cfg", "no model"],
    ),
    "config of an unknown model": (
        {f"{TEACHER}.cfg.model.backbone.type": "ResNot"},
        ["teacher.cfg", "ResNot"],
    ),
    "broken config file": (
        lambda: {f"{TEACHER}.cfg": write_file("broken.py", b"model = dict(\n")},
        ["teacher.cfg", "broken.py"],
    ),
    "checkpoint not set": ({f"{TEACHER}.checkpoint": None}, ["teacher.checkpoint"]),
    "checkpoint missing": (
        {f"{TEACHER}.checkpoint": "/nowhere/teacher.pth"},
        ["teacher.checkpoint", "/nowhere/teacher.pth", "Train the"],
    ),
    "checkpoint truncated": (
        lambda: checkpoint("short.pth", toys.classifier().checkpoint.read_bytes()[:5000])(),
        ["teacher.checkpoint", "short.pth", "truncated"],
    ),
    "checkpoint is text": (
        checkpoint("text.pth", b"no weights\n" * 9),
        ["teacher.checkpoint", "text.pth", "safetensors"],
    ),
    "checkpoint is a list": (
        checkpoint("list.pth", [1, 2]),
        ["teacher.checkpoint", "list.pth", "dict"],
    ),
    "checkpoint would run code": (
        checkpoint("code.pth", dict(state_dict={}, hook=Path)),
        ["teacher.checkpoint", "code.pth", "trust_checkpoint=True"],
    ),
    "checkpoint of another width": (
        {f"{TEACHER}.cfg.model.backbone.base_channels": 8},
        ["teacher.cfg", "backbone.", "of shape"],
    ),
    "checkpoint of another architecture": (
        lambda: {f"{TEACHER}.checkpoint": str(toys.segmenter().checkpoint)},
        ["teacher.cfg", "missing: ", "unexpected: decode_head."],
    ),
    "keys missing": (
        weights(lambda state: state.pop("head.fc.weight")),
        ["teacher.cfg", "1 missing: head.fc.weight"],
    ),
    "keys unexpected": (
        weights(lambda state: state.update({"head.extra": torch.ones(1)})),
        ["teacher.cfg", "1 unexpected: head.extra"],
    ),
    "NaN weights": (
        weights(lambda state: state["backbone.conv1.weight"].fill_(torch.nan)),
        ["teacher", "NaN or Inf features", ".png", "checkpoint"],
    ),
    "NaN classifier": (
        weights(lambda state: state["head.fc.weight"].fill_(torch.inf)),
        ["teacher", "NaN or Inf logits", ".png"],
    ),
    "order of classes": (
        weights(lambda state: None, dataset_meta=dict(classes=("c0", "c2", "c1"))),
        ["order", "class 1", "'c1'", "'c2'"],
    ),
    "number of classes of the data": (
        lambda: {f"{DATA}.data_root": str(folders(classes=4))},
        ["training set", "4 classes", "3", "num_classes"],
    ),
    "teacher's layer wrong": (
        {f"{TEACHER}.layer": "head.fcc"},
        ["ImageClassifier", "'head.fcc'", "Did you mean 'head.fc'"],
    ),
    "student's layer wrong": (
        {f"{HOOK}.layer": "head.classifier"},
        ["ImageClassifier", "'head.classifier'"],
    ),
    "student's layer is no classifier layer": (
        {f"{HOOK}.layer": "backbone.bn1"},
        ["no classifier layer", "Linear or Conv"],
    ),
    "teacher's layer of images": (
        {f"{TEACHER}.layer": "backbone.layer4.1.conv2"},
        ["'backbone.layer4.1.conv2'", "'head.fc'", "teacher.layer"],
    ),
    "level pixel": (
        {f"{HOOK}.level": "pixel"},
        ["level='pixel'", "image"],
    ),
    "multi-label head": (
        {
            "model.head": dict(
                _delete_=True, type="MultiLabelLinearClsHead", num_classes=3, in_channels=64
            )
        },
        ["MultiLabelLinearClsHead", "sigmoid", "single-label"],
    ),
    "sigmoid loss, KD alone": (
        {"model.head.loss": SIGMOID, f"{HOOK}.losses": KD_ALONE},
        ["head of ImageClassifier", "CrossEntropyLoss", "sigmoid", "softmax"],
    ),
    "teacher's sigmoid loss, KD alone": (
        {f"{TEACHER}.cfg.model.head.loss": SIGMOID, f"{HOOK}.losses": KD_ALONE},
        ["the teacher", "head of ImageClassifier", "sigmoid"],
    ),
    "one class": (one_class, ["only class 0", "two classes"]),
    "label outside": (
        lambda: listed(folders(), images(lambda c: c + c // 2)),
        ["c2/", ".png", "[3]", "3 classes (0..2)"],
    ),
    "unreadable image": (unreadable("c1/3.png"), ["memory bank", "c1/3.png", "Error: "]),
    "unreadable first image": (unreadable("c0/0.png"), ["training set", "c0/0.png", "Error: "]),
    "image missing": (
        lambda: listed(folders(), [*images(lambda c: c), "c0/gone.png 0"]),
        ["memory bank", "c0/gone.png", "FileNotFoundError"],
    ),
    "data samples of several tasks": (
        several_tasks,
        ["c0/0.png", "MultiTaskDataSample", "kind", "one task"],
    ),
    "several labels, KD alone": (
        several_labels,
        ["c0/0.png", "2 labels", "one class per image"],
    ),
    "random pipeline": (
        pipeline(dict(type="ColorJitter", brightness=0.9), dict(type="PackInputs")),
        ["random", "bank.pipeline"],
    ),
    "unknown transform": (pipeline(dict(type="PackInput")), ["bank.pipeline", "PackInput"]),
    "pipeline without packing": (pipeline(), ["bank.pipeline", "PackInputs"]),
    "training pipeline without paths": (
        {f"{DATA}.pipeline.2.meta_keys": ("ori_shape", "img_shape")},
        ["drops 'img_path'", "meta_keys", "exclude_same_id=False"],
    ),
    "teacher of larger images": (
        larger_images,
        ["teacher", "training images of 16x16 pixels"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_of_a_classifier_stops_the_run(name: str) -> None:
    changes, words = CASES[name]
    assert_stops(changed(toys.classifier().distilled(), changes), *words)


NO_BATCH = {"train_dataloader.batch_size": 64, "train_dataloader.drop_last": True}
EPOCHS = dict(type="EpochBasedTrainLoop", max_epochs=1)


@pytest.mark.parametrize("loop", ["iterations", "epochs"])
def test_a_loader_without_batches_stops_before_the_bank(loop: str) -> None:
    cache = toys.new_folder()
    cfg = toys.classifier().distilled(bank=dict(cache_dir=str(cache)))
    if loop == "epochs":
        cfg.train_cfg, cfg.param_scheduler = EPOCHS, None
    assert_stops(changed(cfg, NO_BATCH), "no batch", "18 training images", "drop_last=False")
    assert not list(cache.iterdir())
    with plain_config_text(), pytest.raises(ICKDError, match="no batch"), open_run(cfg):
        pass


def test_an_infinite_sampler_fills_its_batches() -> None:
    cfg = changed(toys.classifier().distilled(), NO_BATCH)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler")
    cfg.train_cfg.max_iters = 1
    assert run(cfg).iter == 1


def test_files_are_checked_before_the_student_is_initialised() -> None:
    runner = build(changed(toys.classifier().distilled(), CASES["checkpoint missing"][0]))
    with pytest.raises(ICKDError):
        train(runner)
    assert not getattr(runner.model, "_is_init", False)


def test_class_names_may_differ_in_case() -> None:
    toy = toys.classifier()
    cfg = toy.distilled()
    names = dict(classes=("C0", "C1", "C2"))
    teacher_of(cfg).checkpoint = changed_checkpoint(toy, lambda s: None, dataset_meta=names)
    assert run(cfg).iter == 3


def test_a_run_without_validation_builds_its_bank() -> None:
    # the pipeline of the bank is then that of training without the random transforms
    toy = toys.classifier()
    cfg = toy.distilled(bank=dict(cache_dir=None))
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    assert "18 rows of 3/3 classes" in toys.log_of(run(cfg))


def test_the_teachers_config_is_not_changed() -> None:
    # a user's config may share the dict between teacher and student
    cfg = toys.classifier().distilled()
    before = teacher_of(cfg).cfg.copy()
    run(cfg)
    assert teacher_of(cfg).cfg == before
    assert (
        classifier_config(toys.classifier().data, toys.new_folder(), width=16).model == before.model
    )
