"""Bad input stops a run before its first step, with what is wrong, where, and what to do."""

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
    file_of,
    state_of,
    teacher_of,
)
from tests.helpers.tiny import (
    build,
    classifier_config,
    make_class_folders,
    plain_config_text,
    run,
    save_teacher,
)

HOOK, TEACHER = "custom_hooks.0", "custom_hooks.0.teacher"
DATA = "train_dataloader.dataset"
KD_ALONE = dict(_delete_=True, **toys.KD_ONLY)
SIGMOID = dict(type="CrossEntropyLoss", use_sigmoid=True)
Changes = dict[str, Any]


def weights(change: Callable[[dict[str, Any]], Any], **meta: Any) -> Callable[[], Changes]:
    """The toy's teacher with other weights."""
    return lambda: {f"{TEACHER}.checkpoint": state_of(toys.classifier(), change, **meta)}


def checkpoint(name: str, content: Any) -> Callable[[], Changes]:
    """A checkpoint of this content."""
    return lambda: {f"{TEACHER}.checkpoint": file_of(name, content)}


def folders(**kwargs: Any) -> Path:
    return make_class_folders(toys.new_folder(), **kwargs)


def listed(data: Path, lines: list[str]) -> Changes:
    """A data set whose images are listed in a file."""
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
    """A list of pictures, each with a class by task."""
    listed = toys.new_folder() / "tasks.json"
    pictures = [
        dict(img_path=str(path), gt_label=dict(kind=int(path.parent.name[1])))
        for path in sorted(toys.classifier().data.glob("train/*/*.png"))
    ]
    listed.write_text(json.dumps(dict(metainfo=dict(tasks=["kind"]), data_list=pictures)))
    pack = dict(type="PackMultiTaskInputs", multi_task_fields=["gt_label"])
    data = dict(type="MultiTaskDataset", ann_file=str(listed), pipeline=[*LOAD, pack])
    return {DATA: dict(_delete_=True, **data)}


def several_labels() -> Changes:
    """A head of one label under a data set of several."""
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
    """Of the bank, after loading."""
    return {f"{HOOK}.bank": dict(pipeline=[*LOAD, *transforms])}


CASES: dict[str, tuple[Changes | Callable[[], Changes], list[str]]] = {
    "config missing": (
        {f"{TEACHER}.cfg": "configs/teachers/nowhere.py"},
        ["teacher.cfg", "configs/teachers/nowhere.py", "does not exist"],
    ),
    "config of a package missing": (
        {f"{TEACHER}.cfg": "mmpretrain::resnet/nowhere.py"},
        ["teacher.cfg", "mmpretrain::resnet/nowhere.py", "does not exist"],
    ),
    "config without a model": (
        {f"{TEACHER}.cfg.model": dict(_delete_=True)},
        ["teacher.cfg has no model"],
    ),
    "config of an unknown model": (
        {f"{TEACHER}.cfg.model.backbone.type": "ResNot"},
        ["teacher.cfg cannot be built", "ResNot"],
    ),
    "broken config file": (
        lambda: {f"{TEACHER}.cfg": file_of("broken.py", b"model = dict(\n")},
        ["teacher.cfg", "broken.py", "cannot be read"],
    ),
    "checkpoint not set": ({f"{TEACHER}.checkpoint": None}, ["teacher.checkpoint is not set"]),
    "checkpoint missing": (
        {f"{TEACHER}.checkpoint": "/nowhere/teacher.pth"},
        ["teacher.checkpoint", "/nowhere/teacher.pth", "does not exist", "Train the"],
    ),
    "checkpoint truncated": (
        lambda: checkpoint("short.pth", toys.classifier().checkpoint.read_bytes()[:5000])(),
        ["teacher.checkpoint", "short.pth", "truncated"],
    ),
    "checkpoint is text": (
        checkpoint("text.pth", b"no weights\n" * 9),
        ["teacher.checkpoint", "text.pth", "no file of torch.save or safetensors"],
    ),
    "checkpoint is a list": (
        checkpoint("list.pth", [1, 2]),
        ["teacher.checkpoint", "list.pth", "holds no dict of weights"],
    ),
    "checkpoint would run code": (
        checkpoint("code.pth", dict(state_dict={}, hook=Path)),
        ["teacher.checkpoint", "code.pth", "trust_checkpoint=True"],
    ),
    "checkpoint of another width": (
        {f"{TEACHER}.cfg.model.backbone.base_channels": 8},
        ["does not fit teacher.cfg", "refused: backbone.", "of shape"],
    ),
    "checkpoint of another architecture": (
        lambda: {f"{TEACHER}.checkpoint": str(toys.segmenter().checkpoint)},
        ["does not fit teacher.cfg", "missing: ", "unexpected: decode_head.", "more)"],
    ),
    "keys missing": (
        weights(lambda state: state.pop("head.fc.weight")),
        ["does not fit teacher.cfg (1 missing: head.fc.weight)"],
    ),
    "keys unexpected": (
        weights(lambda state: state.update({"head.extra": torch.ones(1)})),
        ["does not fit teacher.cfg (1 unexpected: head.extra)"],
    ),
    "NaN weights": (
        weights(lambda state: state["backbone.conv1.weight"].fill_(torch.nan)),
        ["teacher gives NaN or Inf features for", ".png", "checkpoint"],
    ),
    "NaN classifier": (
        weights(lambda state: state["head.fc.weight"].fill_(torch.inf)),
        ["teacher gives NaN or Inf logits for", ".png"],
    ),
    "order of classes": (
        weights(lambda state: None, dataset_meta=dict(classes=("c0", "c2", "c1"))),
        ["another order", "class 1 is 'c1' in the training set and 'c2' in the teacher"],
    ),
    "number of classes of the data": (
        lambda: {f"{DATA}.data_root": str(folders(classes=4))},
        ["training set has 4 classes", "have 3", "num_classes"],
    ),
    "teacher's layer wrong": (
        {f"{TEACHER}.layer": "head.fcc"},
        ["ImageClassifier has no layer 'head.fcc'", "Did you mean 'head.fc'"],
    ),
    "student's layer wrong": (
        {f"{HOOK}.layer": "head.classifier"},
        ["ImageClassifier has no layer 'head.classifier'"],
    ),
    "student's layer is not one": (
        {f"{HOOK}.layer": "backbone.bn1"},
        ["no classifier layer", "Linear or Conv"],
    ),
    "teacher's layer of images": (
        {f"{TEACHER}.layer": "backbone.layer4.1.conv2"},
        [
            "'backbone.layer4.1.conv2'",
            "the teacher",
            "'head.fc'. Set teacher.layer",
        ],
    ),
    "level pixel": (
        {f"{HOOK}.level": "pixel"},
        ["level='pixel' does not fit", "image", "classifiers have images"],
    ),
    "multi-label head": (
        {
            "model.head": dict(
                _delete_=True, type="MultiLabelLinearClsHead", num_classes=3, in_channels=64
            )
        },
        ["MultiLabelLinearClsHead", "sigmoid", "single-label"],
    ),
    "loss of a sigmoid, KD alone": (
        {"model.head.loss": SIGMOID, f"{HOOK}.losses": KD_ALONE},
        ["head of ImageClassifier", "CrossEntropyLoss", "own sigmoid", "softmax"],
    ),
    "teacher's loss of a sigmoid, KD alone": (
        {f"{TEACHER}.cfg.model.head.loss": SIGMOID, f"{HOOK}.losses": KD_ALONE},
        ["the teacher: the head of ImageClassifier", "own sigmoid"],
    ),
    "one class": (one_class, ["only class 0", "two classes"]),
    "label outside": (
        lambda: listed(folders(), images(lambda c: c + c // 2)),
        ["c2/", ".png is labelled [3]", "3 classes (0..2)"],
    ),
    "unreadable image": (unreadable("c1/3.png"), ["memory bank", "c1/3.png", "Error: "]),
    "unreadable first image": (unreadable("c0/0.png"), ["training set", "c0/0.png", "Error: "]),
    "image missing": (
        lambda: listed(folders(), [*images(lambda c: c), "c0/gone.png 0"]),
        ["memory bank cannot be built", "c0/gone.png", "FileNotFoundError"],
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
        ["is random", "came out in two ways", "bank.pipeline"],
    ),
    "unknown transform": (pipeline(dict(type="PackInput")), ["bank.pipeline", "PackInput"]),
    "pipeline without packing": (pipeline(), ["bank.pipeline", "PackInputs"]),
    "training pipeline without paths": (
        {f"{DATA}.pipeline.2.meta_keys": ("ori_shape", "img_shape")},
        ["drops 'img_path'", "meta_keys", "exclude_same_id=False"],
    ),
    "teacher of larger images": (
        larger_images,
        ["teacher cannot run on training images of 16x16 pixels", "Use a teacher for such"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_classifier_stops(name: str) -> None:
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
    with plain_config_text():
        assert run(cfg).iter == 1


def test_files_are_looked_for_before_the_student_is_initialised() -> None:
    runner = build(changed(toys.classifier().distilled(), CASES["checkpoint missing"][0]))
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
