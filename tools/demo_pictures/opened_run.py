"""A trained run, opened again: student, data sets, teacher and memory bank as in training."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

from mmickd.hooks import ICKDHook
from mmickd.structures import Batch, View


class Opened:
    """The parts of a distilled run that pictures need.

    Args:
        cfg: its whole config, with an ``ICKDHook``.

    Attributes:
        runner: never trained; holds the student.
        train_set, val_set: the data sets.
        teacher: with its task adapter and memory.
    """

    def __init__(self, cfg: Config) -> None:
        cfg.work_dir = tempfile.mkdtemp(prefix="mmickd_demo_")
        self.runner = runner = Runner.from_cfg(cfg)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner._val_loop = runner.build_val_loop(runner._val_loop)
        hook = next(hook for hook in runner.hooks if isinstance(hook, ICKDHook))
        hook.before_train(runner)
        assert hook.distiller is not None
        self.teacher: Any = hook.distiller.teacher
        self.train_set: Any = runner.train_dataloader.dataset
        self.val_set: Any = runner.val_dataloader.dataset

    def image_path(self, split: Any, index: int) -> str:
        """Path of one image of a data set."""
        return split.get_data_info(index)["img_path"]

    @torch.no_grad()
    def view(self, samples: Sequence[Any]) -> View:
        """What the teacher makes of packed samples, at every location."""
        data = self.runner.model.data_preprocessor(pseudo_collate(list(samples)), False)
        batch = Batch(data["inputs"], data["data_samples"])
        return self.teacher.task.view(self.teacher(batch.inputs), batch)

    @torch.no_grad()
    def predict(self, samples: Sequence[Any]) -> list[Any]:
        """The student's predictions, as data samples."""
        self.runner.model.eval()
        return self.runner.model.val_step(pseudo_collate(list(samples)))
