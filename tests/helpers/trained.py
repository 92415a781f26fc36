"""Toys whose teacher is trained, so that it knows its classes; data in which labels are wrong."""

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
    """60 pictures of 3 classes, told apart by a trained ResNet-18."""
    return _trained(classifier_config, make_class_folders(new_folder(), PER_CLASS), iters=30)


@functools.cache
def segmenter() -> Toy:
    """12 scenes of 3 classes, told apart by a trained FCN."""
    return _trained(segmenter_config, make_scenes(new_folder(), SCENES), iters=50)


def _trained(make: Any, data: Path, iters: int) -> Toy:
    cfg = make(data, new_folder(), iters=iters)
    cfg.default_hooks.checkpoint.interval = 1000  # the last step is saved anyway
    cfg.train_dataloader.batch_size = 8
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    run(cfg)
    return Toy(cfg, cfg, Path(cfg.work_dir) / f"iter_{iters}.pth", data)


def on(data: Path, cfg: Config) -> Config:
    """``cfg`` with its training set in another folder, in place."""
    cfg.train_dataloader.dataset.data_root = str(data)
    return cfg


def with_labels(data: Path, change: Any) -> Path:
    """A copy of scenes whose label maps went through ``change``."""
    made = new_folder() / "data"
    shutil.copytree(data, made)
    for file in (made / "ann_dir" / "train").iterdir():
        Image.fromarray(change(np.asarray(Image.open(file)))).save(file)
    return made


def with_moved_pictures(data: Path, moved: dict[str, str]) -> Path:
    """A copy of class folders in which pictures lie in other folders.

    Args:
        data: the class folders.
        moved: by ``<class>/<file>``, the class that it shall be in.
    """
    made = new_folder() / "data"
    shutil.copytree(data, made)
    for name, other in moved.items():
        source = made / "train" / name
        source.rename(made / "train" / other / f"from_{source.parent.name}_{source.name}")
    return made
