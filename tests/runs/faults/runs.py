"""The runs that are killed: small, complete, and without anything random."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.tiny import plain_config_text
from tests.runs.faults.processes import Training


def classifier() -> Config:
    """By iterations, with processes that load data; keeps one checkpoint, the most fragile way."""
    cfg = toys.classifier().distilled(bank=dict(cache_dir="auto", num_workers=1))
    return _by_iterations(cfg)


def segmenter() -> Config:
    """By epochs, in one process; writes checkpoints again when they are the best."""
    return _by_epochs(toys.segmenter().distilled(bank=dict(cache_dir="auto"), anchors=64))


def peers_of_classifier() -> Config:
    """A wider peer and one like the student, with a recipe of their own; both are validated."""
    schedule = dict(type="MultiStepLR", milestones=[5, 11], gamma=0.3, by_epoch=False)
    teacher = dict(
        type="OnlineTeacher",
        cfg=[toys.classifier().teacher_cfg.to_dict(), None],
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=5.0)),
        param_scheduler=[schedule],
        validate=True,
    )
    return _by_iterations(_learning(toys.classifier(), teacher))


def peer_of_segmenter() -> Config:
    """A wider peer with dropout, the run's own recipe, two levels, momentum encoders."""
    wider = toys.segmenter().teacher_cfg.to_dict()
    assert wider["model"]["decode_head"]["dropout_ratio"] > 0
    teacher = dict(type="OnlineTeacher", cfg=wider)
    cfg = _learning(toys.segmenter(), teacher, ["pixel", "region"])
    cfg.custom_hooks[0]["bank"]["momentum"] = 0.1
    cfg.param_scheduler = [dict(type="MultiStepLR", milestones=[3, 6], gamma=0.3, by_epoch=True)]
    return _by_epochs(cfg)


def average_of_classifier() -> Config:
    """The student's moving average, still warming up when runs are killed."""
    return _by_iterations(_learning(toys.classifier(), dict(type="SelfTeacher", momentum=0.1)))


def last_epoch_of_segmenter() -> Config:
    """The student as the last epoch left it, at two levels."""
    teacher = dict(type="SelfTeacher", mode="snapshot")
    return _by_epochs(_learning(toys.segmenter(), teacher, ["pixel", "region"]))


def _learning(toy: toys.Toy, teacher: dict[str, Any], level: Any = None) -> Config:
    """With a teacher that learns, and queues so short that they come round."""
    cfg = toy.student()
    hook = dict(type="mmickd.ICKDHook", teacher=teacher, level=level, anchors=64)
    hook.update(bank=dict(capacity_per_class=7), losses=dict(picd=dict(num_positives=3)))
    cfg.custom_hooks = [hook]
    return cfg


def _by_iterations(cfg: Config) -> Config:
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=18, val_interval=4)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=3, by_epoch=False, max_keep_ckpts=1
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=1, persistent_workers=True)
    return _finished(cfg)


def _by_epochs(cfg: Config) -> Config:
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=8, val_interval=1)
    cfg.log_processor.by_epoch = True
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=1, by_epoch=True, max_keep_ckpts=2, save_best="mIoU"
    )
    cfg.model.decode_head.dropout_ratio = 0.0
    return _finished(cfg)


def _finished(cfg: Config) -> Config:
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [
        t for t in pipeline if not t["type"].startswith("Random")
    ]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.pipeline.insert(1, dict(type="ReachBuilding"))
    cfg.custom_imports = dict(imports=["tests.runs.faults.places"])
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="ReachSteps")]
    return cfg


FROZEN = {"classifier": classifier, "segmenter": segmenter}
"""Runs with a frozen teacher, whose bank is cached."""
LEARNING = {
    "classifier's peers": peers_of_classifier,
    "segmenter's peer": peer_of_segmenter,
    "classifier's average": average_of_classifier,
    "segmenter's last epoch": last_epoch_of_segmenter,
}
"""Runs whose teachers learn, and lie in the checkpoint with their queues."""
MODELS = {**FROZEN, **LEARNING}


@functools.cache
def config_file(model: str) -> Path:
    """The config of a run, as a file."""
    cfg = MODELS[model]()
    path = toys.new_folder() / "run.py"
    with plain_config_text():
        cfg.dump(path)
    return path


@dataclass(frozen=True)
class Folders:
    """Where a run works, and where its bank is cached."""

    work: Path
    cache: Path

    @classmethod
    def new(cls) -> Folders:
        root = toys.new_folder()
        return cls(root / "work", root / "cache")

    def launch(self, model: str, ranks: int, name: str, *more: str, **env: str) -> Training:
        """Start a run here; ``name`` is of the file with what it prints."""
        arguments = [str(config_file(model)), "--work-dir", str(self.work), *more]
        env = {"MMICKD_CACHE_DIR": str(self.cache), **env}
        return Training(ranks, arguments, self.work.parent / f"{name}.txt", env)

    def losses(self) -> dict[int, list[dict[str, float]]]:
        """Every line of losses that a run logged here, by its step."""
        found: dict[int, list[dict[str, float]]] = {}
        for path in sorted(self.work.glob("*/vis_data/scalars.json")):
            for text in path.read_text().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:  # the last one of a run that was killed
                    continue
                if "loss" in line:
                    values = {k: v for k, v in line.items() if "loss" in k}
                    found.setdefault(line["step"], []).append(values)
        return found

    def last_checkpoint(self) -> dict[str, Any]:
        """The checkpoint that is named as the last one."""
        path = (self.work / "last_checkpoint").read_text()
        return torch.load(path, map_location="cpu", weights_only=False)
