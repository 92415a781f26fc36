"""Tiny data sets, models and runs for the tests: all of them real, each of them takes seconds."""

from __future__ import annotations

import copy
import time
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from PIL import Image

CLASSES = 3
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]])


def make_class_folders(root: Path, per_class: int = 6, classes: int = CLASSES) -> Path:
    """Write ``root/{train,val}/<class>/*.png``: 16x16 pictures, one colour per class."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(classes):
            folder = root / split / f"c{label}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(per_class):
                noise = rng.integers(-40, 40, (16, 16, 3))
                picture = np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(folder / f"{number}.png")
    return root


def make_scenes(root: Path, count: int = 6, classes: int = CLASSES, void: bool = True) -> Path:
    """Write ``root/{img_dir,ann_dir}/{train,val}/*.png``: 48x64 pictures of coloured rectangles."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("img_dir", "ann_dir"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            label = np.zeros((48, 64), np.uint8)
            for value in range(1, classes):
                y, x = rng.integers(0, 24), rng.integers(0, 40)
                label[y : y + 20, x : x + 20] = value
            noise = rng.integers(-30, 30, (48, 64, 3))
            picture = np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)
            if void:
                label[:6] = 255
            Image.fromarray(picture).save(root / "img_dir" / split / f"{number}.png")
            Image.fromarray(label).save(root / "ann_dir" / split / f"{number}.png")
    return root


def runtime(scope: str, work_dir: Path, iters: int, epochs: bool = False) -> dict[str, Any]:
    """Return the config of a run without model and data, in the form that both packages use."""
    loop = (
        dict(type="EpochBasedTrainLoop", max_epochs=iters, val_interval=1000)
        if epochs
        else dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=1000)
    )
    return dict(
        default_scope=scope,
        work_dir=str(work_dir),
        train_cfg=loop,
        val_cfg=dict(),
        test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.02, momentum=0.9)),
        param_scheduler=[dict(type="PolyLR", power=0.9, begin=0, end=100, by_epoch=False)],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1, log_metric_by_epoch=False),
            checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=epochs),
        ),
        log_processor=dict(by_epoch=epochs, window_size=1),
        log_level="WARNING",
        randomness=dict(seed=3),
        env_cfg=dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork")),
        visualizer=dict(
            type="Visualizer" if scope == "mmpretrain" else "SegLocalVisualizer",
            vis_backends=[dict(type="LocalVisBackend")],
        ),
    )


def classifier_config(
    data: Path,
    work_dir: Path,
    width: int = 8,
    iters: int = 3,
    classes: int = CLASSES,
    **kwargs: Any,
) -> Config:
    """Return the run of an mmpretrain ResNet-18 on :func:`make_class_folders`."""
    load = [dict(type="LoadImageFromFile")]
    train = [
        *load,
        dict(type="RandomFlip", prob=0.5, direction="horizontal"),
        dict(type="PackInputs"),
    ]

    def loader(split: str, pipeline: list[dict[str, Any]], shuffle: bool) -> dict[str, Any]:
        return dict(
            batch_size=4,
            num_workers=0,
            dataset=dict(
                type="CustomDataset", data_root=str(data), data_prefix=split, pipeline=pipeline
            ),
            sampler=dict(type="DefaultSampler", shuffle=shuffle),
        )

    return Config(
        dict(
            **runtime("mmpretrain", work_dir, iters, **kwargs),
            model=dict(
                type="ImageClassifier",
                backbone=dict(
                    type="ResNet_CIFAR", depth=18, stem_channels=width, base_channels=width
                ),
                neck=dict(type="GlobalAveragePooling"),
                head=dict(
                    type="LinearClsHead",
                    num_classes=classes,
                    in_channels=width * 8,
                    loss=dict(type="CrossEntropyLoss"),
                    topk=(1,),
                ),
            ),
            data_preprocessor=dict(
                num_classes=classes, mean=[120, 110, 100], std=[60, 60, 60], to_rgb=True
            ),
            train_dataloader=loader("train", train, True),
            val_dataloader=loader("val", [*load, dict(type="PackInputs")], False),
            val_evaluator=dict(type="Accuracy", topk=(1,)),
            test_dataloader=loader("val", [*load, dict(type="PackInputs")], False),
            test_evaluator=dict(type="Accuracy", topk=(1,)),
        )
    )


def segmenter_config(
    data: Path,
    work_dir: Path,
    width: int = 8,
    iters: int = 3,
    classes: int = CLASSES,
    head: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Config:
    """Return the run of an mmseg FCN on ResNet-18 (stride 8) on :func:`make_scenes`."""
    norm = dict(type="BN", requires_grad=True)
    load = [dict(type="LoadImageFromFile")]
    train = [
        *load,
        dict(type="LoadAnnotations"),
        dict(type="RandomCrop", crop_size=(32, 32)),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PackSegInputs"),
    ]
    val = [*load, dict(type="LoadAnnotations"), dict(type="PackSegInputs")]

    def loader(split: str, pipeline: list[dict[str, Any]], shuffle: bool) -> dict[str, Any]:
        return dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(
                type="BaseSegDataset",
                data_root=str(data),
                img_suffix=".png",
                data_prefix=dict(img_path=f"img_dir/{split}", seg_map_path=f"ann_dir/{split}"),
                metainfo=dict(
                    classes=[f"c{i}" for i in range(classes)],
                    palette=[[i * 20] * 3 for i in range(classes)],
                ),
                pipeline=pipeline,
            ),
            sampler=dict(type="DefaultSampler", shuffle=shuffle),
        )

    return Config(
        dict(
            **runtime("mmseg", work_dir, iters, **kwargs),
            model=dict(
                type="EncoderDecoder",
                data_preprocessor=dict(
                    type="SegDataPreProcessor",
                    mean=[120, 110, 100],
                    std=[60, 60, 60],
                    bgr_to_rgb=True,
                    pad_val=0,
                    seg_pad_val=255,
                    size=(32, 32),
                ),
                backbone=dict(
                    type="ResNetV1c",
                    depth=18,
                    stem_channels=width,
                    base_channels=width,
                    num_stages=4,
                    out_indices=(0, 1, 2, 3),
                    dilations=(1, 1, 2, 4),
                    strides=(1, 2, 1, 1),
                    norm_cfg=norm,
                    norm_eval=False,
                    style="pytorch",
                    contract_dilation=True,
                ),
                decode_head={
                    **dict(
                        type="FCNHead",
                        in_channels=width * 8,
                        in_index=3,
                        channels=16,
                        num_convs=1,
                        concat_input=False,
                        dropout_ratio=0.1,
                        num_classes=classes,
                        norm_cfg=norm,
                        align_corners=False,
                        loss_decode=dict(type="CrossEntropyLoss"),
                    ),
                    **(head or {}),
                },
                train_cfg=dict(),
                test_cfg=dict(mode="whole"),
            ),
            train_dataloader=loader("train", train, True),
            val_dataloader=loader("val", val, False),
            val_evaluator=dict(type="IoUMetric", iou_metrics=["mIoU"]),
            test_dataloader=loader("val", val, False),
            test_evaluator=dict(type="IoUMetric", iou_metrics=["mIoU"]),
        )
    )


def save_teacher(cfg: Config, path: Path, seed: int = 1, classes: Any = None) -> Path:
    """Save a randomly initialised model of ``cfg`` in the form of mmengine's checkpoints."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    model_cfg = copy.deepcopy(cfg.model)
    if "data_preprocessor" in cfg:
        model_cfg.data_preprocessor = cfg.data_preprocessor
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(model_cfg)
        model.init_weights()
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


RUN_LOSSES: dict[str, Any] = {"kd": {"dense": True}, "nicd": {"loss_weight": 1.0}}
"""``losses`` of the tests' runs: KD is at every location, and the weights are constant.

The steps of a shorter run are then the first steps of a longer one.
"""


def with_run_losses(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of the hook with :data:`RUN_LOSSES` where they set no others."""
    return {**options, "losses": {**RUN_LOSSES, **(options.get("losses") or {})}}


def with_hook(cfg: Config, teacher_cfg: Any, checkpoint: Path, **options: Any) -> Config:
    """Return a copy of ``cfg`` with an offline teacher and :data:`RUN_LOSSES`."""
    if isinstance(teacher_cfg, Config):  # mmengine cannot print a Config inside of a config
        teacher_cfg = teacher_cfg.to_dict()
    teacher = dict(cfg=teacher_cfg, checkpoint=str(checkpoint))
    return with_teacher(copy.deepcopy(cfg), teacher, **with_run_losses(options))


def with_teacher(cfg: Config, teacher: dict[str, Any], **options: Any) -> Config:
    """Set ICKDHook with this ``teacher`` as the only custom hook of ``cfg``."""
    cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=teacher, **options)]
    return cfg


def build(cfg: Config, *hooks: Hook) -> Runner:
    """Build the runner of a copy of ``cfg`` and register ``hooks``."""
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = f"test_{uuid.uuid4().hex}"  # mmengine keeps one runner per name
    # mmengine names the folder of logs by the second: a run that is resumed at once would write
    # into the folder of its first half
    while (Path(cfg.work_dir) / time.strftime("%Y%m%d_%H%M%S")).exists():
        time.sleep(0.05)
    with plain_config_text():
        runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner


def train(runner: Runner) -> Runner:
    """Train a runner that is built, in this process."""
    with plain_config_text():
        runner.train()
    return runner


def run(cfg: Config, *hooks: Hook) -> Runner:
    """Train a copy of ``cfg`` with ``hooks``, in this process."""
    return train(build(cfg, *hooks))


def resume(cfg: Config, max_iters: int, *hooks: Hook) -> Runner:
    """Resume the last run of ``cfg`` from its latest checkpoint and train up to ``max_iters``."""
    cfg.train_cfg.max_iters, cfg.resume = max_iters, True
    return run(cfg, *hooks)


def dump(cfg: Config, path: Path) -> Path:
    """Write a config file."""
    with plain_config_text():
        cfg.dump(path)
    return path


def plain_config_text() -> Any:
    """Leave out yapf's layout of configs, which takes longer than all the rest of a tiny run."""
    return mock.patch("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))


def scalar_names(runner: Runner, part: str = "") -> list[str]:
    """Return the names of the logged scalars of training that contain ``part``."""
    names = [
        name.removeprefix("train/") for name in runner.message_hub.log_scalars if "train/" in name
    ]
    return [name for name in names if part in name]


def history(runner: Runner, name: str) -> list[float]:
    """Return the logged values of a scalar, one per iteration."""
    return [float(v) for v in runner.message_hub.get_scalar(f"train/{name}").data[0]]
