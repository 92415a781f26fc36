"""A run as it stands before its first step: built, checked, its banks there, nothing trained."""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from torch import nn

from mmickd.building.build import MIN_CLASSES
from mmickd.commands.arguments import build_runner, explained_empty_data
from mmickd.hooks.attachment import Attachment
from mmickd.hooks.entries import hook_entry
from mmickd.hooks.ickd_hook import ICKDHook, run_context
from mmickd.storage.cache import StoredBank
from mmickd.teachers.run_context import RunContext
from mmickd.training.distiller import Distiller
from mmickd.training.options import HookOptions
from mmickd.training.preparation import ReadyRun


@dataclass(frozen=True)
class OpenRun:
    """A run before its first step.

    Args:
        runner: of mmengine; its loops and loaders are built, its student is on its device.
        ready: what it would train with: teacher, memories and losses.
        attachment: of its distiller to the student, so that ``student(..., mode='loss')`` in
            training mode gives the distilled losses.
        options: of the hook.
        warnings: what this package logged as a warning, or worse, on the way; grows with what
            follows.
        notes: the same of other packages.
    """

    runner: Any
    ready: ReadyRun
    attachment: Attachment
    options: HookOptions
    warnings: list[str]
    notes: list[str]

    @property
    def distiller(self) -> Distiller:
        """Teacher, memories and losses."""
        return self.ready.distiller

    @property
    def stored(self) -> dict[str, StoredBank]:
        """By level, where a frozen bank lies in the cache; empty where there is none."""
        return self.ready.stored

    @property
    def student(self) -> nn.Module:
        """The model that the run would train."""
        return self.runner.model

    @property
    def run(self) -> RunContext:
        """Its data and settings, as the teacher was given them."""
        return run_context(self.runner, self.student)


@contextmanager
def open_run(cfg: Config, min_classes: int = MIN_CLASSES) -> Iterator[OpenRun]:
    """Go the way of a training run up to its first step, and no further.

    All that would stop the run stops it here. Nothing is written into the run's work dir, and no
    visualization backend is told of it.

    Args:
        cfg: the whole config; it is left as it is.
        min_classes: classes that a frozen bank must have rows of.

    Raises:
        ICKDError: if there is not exactly one :class:`~mmickd.ICKDHook`, or the run cannot begin.
    """
    cfg = cfg.copy()
    hook_entry(cfg)
    with tempfile.TemporaryDirectory(prefix="mmickd-") as folder:
        cfg.work_dir = folder
        cfg.experiment_name = Path(folder).name  # mmengine keeps one runner per name
        if cfg.get("visualizer") is not None:
            cfg.visualizer = {**cfg.visualizer, "vis_backends": None}
        runner = build_runner(cfg)
        hook = next(hook for hook in runner.hooks if isinstance(hook, ICKDHook))
        hook.min_classes = min_classes
        runner.register_hook(_StopBeforeTraining(), priority="LOWEST")
        collector = _Collector()
        runner.logger.addHandler(collector)
        with suppress(_Ready), explained_empty_data():
            runner.train()
        ready = hook.ready
        assert ready is not None and hook.attachment is not None
        try:
            yield OpenRun(
                runner, ready, hook.attachment, hook.options, collector.own, collector.others
            )
        finally:
            hook.after_train(runner)
            runner.logger.removeHandler(collector)
            for handler in list(runner.logger.handlers):  # of the log file in the folder
                if isinstance(handler, logging.FileHandler):
                    handler.close()
                    runner.logger.removeHandler(handler)


class _Ready(BaseException):
    """Everything is there; nothing between may take it for an error."""


class _StopBeforeTraining(Hook):
    """After all other hooks have been told that training begins."""

    def before_train(self, runner: Any) -> None:
        raise _Ready


class _Collector(logging.Handler):
    """Keeps warnings and errors, those of this package apart."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.own: list[str] = []
        self.others: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        (self.own if _is_of_package() else self.others).append(record.getMessage())


def _is_of_package() -> bool:
    """Whether it is this package that logs; all share mmengine's logger, and a function of it."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and name.split(".")[0] != "logging" and "mmengine.logging" not in name:
            return bool(name.split(".")[0] == __name__.split(".")[0])
        frame = frame.f_back
    return False
