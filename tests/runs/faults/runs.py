"""The runs of the campaign: small, complete, and without anything random."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.tiny import dump, with_teacher
from tests.runs.faults.processes import Training


def classifier() -> Config:
    """Return a run by iterations with workers; it keeps only one checkpoint."""
    cfg = toys.classifier().distilled(bank=dict(cache_dir="auto", num_workers=1))
    return _by_iterations(cfg)


def segmenter() -> Config:
    """Return a run by epochs in one process; it saves the best checkpoint twice."""
    return _by_epochs(toys.segmenter().distilled(bank=dict(cache_dir="auto"), anchors=64))


def peers_of_classifier() -> Config:
    """Return a run with a wider and an equal peer, which have their own optimizer and schedule."""
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
    """Return a run with a wider peer with dropout, two levels and momentum encoders."""
    wider = toys.segmenter().teacher_cfg.to_dict()
    assert wider["model"]["decode_head"]["dropout_ratio"] > 0
    teacher = dict(type="OnlineTeacher", cfg=wider)
    cfg = _learning(toys.segmenter(), teacher, ["pixel", "region"])
    cfg.custom_hooks[0]["bank"]["momentum"] = 0.1
    cfg.param_scheduler = [dict(type="MultiStepLR", milestones=[3, 6], gamma=0.3, by_epoch=True)]
    return _by_epochs(cfg)


def average_of_classifier() -> Config:
    """Return a run with the student's moving average as teacher."""
    return _by_iterations(_learning(toys.classifier(), dict(type="SelfTeacher", momentum=0.1)))


def last_epoch_of_segmenter() -> Config:
    """Return a run with the student of the previous epoch as teacher, at two levels."""
    teacher = dict(type="SelfTeacher", mode="snapshot")
    return _by_epochs(_learning(toys.segmenter(), teacher, ["pixel", "region"]))


def _learning(toy: toys.Toy, teacher: dict[str, Any], level: Any = None) -> Config:
    """Return a run with a teacher that learns; rows of its short queues are replaced."""
    options = dict(bank=dict(capacity_per_class=7), losses=dict(picd=dict(num_positives=3)))
    return with_teacher(toy.student(), teacher, level=level, anchors=64, **options)


def _by_iterations(cfg: Config) -> Config:
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=18, val_interval=4)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=3, by_epoch=False, max_keep_ckpts=1
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=1, persistent_workers=True)
    return _with_places(cfg)


def _by_epochs(cfg: Config) -> Config:
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=8, val_interval=1)
    cfg.log_processor.by_epoch = True
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=1, by_epoch=True, max_keep_ckpts=2, save_best="mIoU"
    )
    cfg.model.decode_head.dropout_ratio = 0.0
    return _with_places(cfg)


def _with_places(cfg: Config) -> Config:
    """Leave out random transforms and add the places of the kills, in place."""
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
"""Runs with a frozen teacher and a cached bank."""
LEARNING = {
    "classifier's peers": peers_of_classifier,
    "segmenter's peer": peer_of_segmenter,
    "classifier's average": average_of_classifier,
    "segmenter's last epoch": last_epoch_of_segmenter,
}
"""Runs whose teachers learn; the checkpoint has teachers and queues."""
MODELS = {**FROZEN, **LEARNING}


@functools.cache
def config_file(model: str) -> Path:
    """Write the config of a run."""
    return dump(MODELS[model](), toys.new_folder() / "run.py")


@dataclass(frozen=True)
class Folders:
    """Work dir and cache of a run."""

    work: Path
    cache: Path

    @classmethod
    def new(cls) -> Folders:
        root = toys.new_folder()
        return cls(root / "work", root / "cache")

    def launch(self, model: str, ranks: int, name: str, *more: str, **env: str) -> Training:
        """Start a run in these folders; its output is written to ``<name>.txt``."""
        arguments = [str(config_file(model)), "--work-dir", str(self.work), *more]
        env = {"MMICKD_CACHE_DIR": str(self.cache), **env}
        return Training(ranks, arguments, self.work.parent / f"{name}.txt", env)

    def losses(self) -> dict[int, list[dict[str, float]]]:
        """Return all logged losses of each step; a resumed run logs some steps again."""
        losses: dict[int, list[dict[str, float]]] = {}
        for path in sorted(self.work.glob("*/vis_data/scalars.json")):
            for text in path.read_text().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:  # the last line of a run that was killed
                    continue
                if "loss" in line:
                    values = {k: v for k, v in line.items() if "loss" in k}
                    losses.setdefault(line["step"], []).append(values)
        return losses

    def last_checkpoint(self) -> dict[str, Any]:
        """Load the checkpoint that ``last_checkpoint`` names."""
        path = (self.work / "last_checkpoint").read_text()
        return torch.load(path, map_location="cpu", weights_only=False)
