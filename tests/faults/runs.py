"""The runs that are killed: small, complete, and without anything random."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from tests import toys
from tests.faults.processes import Training
from tests.toy import plain_config_text


def classifier() -> Config:
    """By iterations, with processes that load data; keeps one checkpoint, the most fragile way."""
    cfg = toys.classifier().distilled(bank=dict(cache_dir="auto", num_workers=1))
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=18, val_interval=4)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=3, by_epoch=False, max_keep_ckpts=1
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=1, persistent_workers=True)
    return _finished(cfg)


def segmenter() -> Config:
    """By epochs, in one process; writes checkpoints again when they are the best."""
    cfg = toys.segmenter().distilled(bank=dict(cache_dir="auto"), anchors=64)
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
    cfg.custom_imports = dict(imports=["tests.faults.places"])
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="ReachSteps")]
    return cfg


MODELS = {"classifier": classifier, "segmenter": segmenter}


@functools.cache
def config_file(model: str) -> Path:
    """The config of a run, as a file."""
    cfg = MODELS[model]()
    path = toys.new_folder() / f"{model}.py"
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


def histories(checkpoint: dict[str, Any]) -> dict[str, list[float]]:
    """Losses of all steps, as the message hub of a checkpoint keeps them."""
    scalars = checkpoint["message_hub"]["log_scalars"]
    return {name: [float(v) for v in scalars[name].data[0]] for name in scalars if "loss" in name}
