"""Toys with a trained teacher, and data sets with label errors."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from tests.helpers.tiny import (
    classifier_config,
    make_class_folders,
    make_scenes,
    run,
    segmenter_config,
)
from tests.helpers.toys import Toy, new_folder

PER_CLASS = 20
SCENES = 12


@functools.cache
def classifier() -> Toy:
    """Return a ResNet-18 that is trained on 60 pictures of 3 classes."""
    return _trained(classifier_config, make_class_folders(new_folder(), PER_CLASS), iters=30)


@functools.cache
def segmenter() -> Toy:
    """Return an FCN that is trained on 12 scenes of 3 classes."""
    return _trained(segmenter_config, make_scenes(new_folder(), SCENES), iters=50)


def _trained(make: Any, data: Path, iters: int) -> Toy:
    cfg = make(data, new_folder(), iters=iters)
    cfg.default_hooks.checkpoint.interval = 1000  # the last step is saved anyway
    cfg.train_dataloader.batch_size = 8
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    run(cfg)
    return Toy(cfg, cfg, Path(cfg.work_dir) / f"iter_{iters}.pth", data)


def on(data: Path, cfg: Config) -> Config:
    """Set the folder of the training set of ``cfg``, in place."""
    cfg.train_dataloader.dataset.data_root = str(data)
    return cfg


def with_labels(data: Path, change: Any) -> Path:
    """Return a copy of scenes with ``change`` applied to their label maps."""
    copied = new_folder() / "data"
    shutil.copytree(data, copied)
    for file in (copied / "ann_dir" / "train").iterdir():
        Image.fromarray(change(np.asarray(Image.open(file)))).save(file)
    return copied


def with_moved_pictures(data: Path, moved: dict[str, str]) -> Path:
    """Return a copy of class folders with some pictures in the folder of another class.

    Args:
        data: Folder of the class folders.
        moved: The new class of each picture, by ``<class>/<file>``.
    """
    copied = new_folder() / "data"
    shutil.copytree(data, copied)
    for name, label in moved.items():
        source = copied / "train" / name
        source.rename(copied / "train" / label / f"from_{source.parent.name}_{source.name}")
    return copied
