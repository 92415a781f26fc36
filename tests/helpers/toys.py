"""A small classifier and segmenter, each with a teacher, made once per process; their runs."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmickd.hooks import ICKDHook
from tests.helpers.tiny import (
    classifier_config,
    make_class_folders,
    make_scenes,
    save_teacher,
    segmenter_config,
    with_hook,
)

_COUNT = itertools.count()
OFF = {name: dict(loss_weight=0.0) for name in ("kd", "picd", "nicd")}
"""``losses`` with every weight 0."""
KD_ONLY: dict[str, Any] = dict(kd=dict(), picd=None, nicd=None)


@functools.cache
def _root() -> tempfile.TemporaryDirectory[str]:
    # Not made on import: processes of multiprocessing end without deleting it.
    return tempfile.TemporaryDirectory(prefix="mmickd-toys-")


def new_folder() -> Path:
    """Return an empty folder, which is deleted at the end of the process."""
    folder = Path(_root().name) / f"{next(_COUNT)}"
    folder.mkdir()
    return folder


@dataclass(frozen=True)
class Toy:
    """Run of a student without distillation, and a wider teacher for it.

    Args:
        cfg: Config of the student's run.
        teacher_cfg: Config of the teacher's run.
        checkpoint: Weights of the teacher.
        data: Data set of both.
    """

    cfg: Config
    teacher_cfg: Config
    checkpoint: Path
    data: Path

    def student(self, **changes: Any) -> Config:
        """Return the run without the hook, in a new work dir.

        Args:
            changes: Values of config keys, which have ``__`` for dots.
        """
        cfg = copy.deepcopy(self.cfg)
        cfg.work_dir = str(new_folder())
        cfg.merge_from_dict({key.replace("__", "."): value for key, value in changes.items()})
        return cfg

    def distilled(self, cfg: Config | None = None, **options: Any) -> Config:
        """Return the run with the hook; ``options`` are its options."""
        cfg = self.student() if cfg is None else cfg
        return with_hook(cfg, self.teacher_cfg, self.checkpoint, **options)


@functools.cache
def classifier() -> Toy:
    """Return a run of mmpretrain: ResNet-18 of width 8, with a teacher of width 16."""
    data = make_class_folders(new_folder())
    return _toy(classifier_config, data)


@functools.cache
def segmenter() -> Toy:
    """Return a run of mmseg: FCN of width 8, with a teacher of width 16."""
    data = make_scenes(new_folder())
    return _toy(segmenter_config, data)


def _toy(make: Any, data: Path) -> Toy:
    cfg, teacher_cfg = make(data, new_folder()), make(data, new_folder(), width=16)
    for config in (cfg, teacher_cfg):
        config.log_level = "INFO"
        config.default_hooks.checkpoint.interval = 1000  # the last step is saved anyway
    return Toy(cfg, teacher_cfg, save_teacher(teacher_cfg, new_folder() / "teacher.pth"), data)


def toy(scope: str) -> Toy:
    """Return the run of a scope, 'mmpretrain' or 'mmseg'."""
    return classifier() if scope == "mmpretrain" else segmenter()


SCOPES = ("mmpretrain", "mmseg")


def hook_of(runner: Runner) -> ICKDHook:
    """Return the ICKDHook of a runner."""
    return next(hook for hook in runner.hooks if isinstance(hook, ICKDHook))


def banks_of(runner: Runner) -> dict[str, Any]:
    """Return the banks of a run in training by level; banks of peers by ``<peer>.<level>``."""
    distiller = hook_of(runner).distiller
    assert distiller is not None
    memories = distiller.teacher.memories
    return {
        level if len(memories) == 1 else f"{name}.{level}": bank
        for name, memory in memories.items()
        for level, bank in memory.banks.items()
    }


def log_of(runner: Runner) -> str:
    """Return the log of a run."""
    return (Path(runner.log_dir) / f"{runner.timestamp}.log").read_text()


def checkpoint_of(runner: Runner) -> dict[str, Any]:
    """Return the last checkpoint of a run."""
    path = Path((Path(runner.work_dir) / "last_checkpoint").read_text())
    return torch.load(path, map_location="cpu", weights_only=False)


def cached_banks(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of the banks in a cache folder, by level."""
    banks = {}
    for path in folder.glob("*/bank.safetensors"):
        manifest = json.loads((path.parent / "manifest.json").read_text())
        # not load_file: it maps the file, which a test may change
        banks[manifest["fields"]["level"]] = safetensors.torch.load(path.read_bytes())
    return banks


def same_state(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """True if two state dicts, nested or not, are equal bit for bit."""
    if a.keys() != b.keys():
        return False
    for key, value in a.items():
        other = b[key]
        if isinstance(value, torch.Tensor):
            if value.dtype != other.dtype or not torch.equal(value, other):
                return False
        elif isinstance(value, dict):
            if not same_state(value, other):
                return False
        elif value != other:
            return False
    return True
