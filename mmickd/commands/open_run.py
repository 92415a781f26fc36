"""Run before its first step: built, checked, with its banks, and untrained."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from mmickd.commands.arguments import build_runner, explain_empty_data
from mmickd.diagnostics.finding import Finding
from mmickd.hooks.attachment import Attachment
from mmickd.hooks.entries import hook_entry
from mmickd.hooks.ickd_hook import ICKDHook
from mmickd.storage.cache import StoredBank
from mmickd.teachers.run_context import RunContext
from mmickd.training.distiller import Distiller
from mmickd.training.options import HookOptions
from mmickd.training.preparation import ReadyRun


@dataclass(frozen=True)
class OpenRun:
    """Run before its first step.

    Args:
        runner: Runner of mmengine, with its loops and loaders; its student is on its device.
        ready: Teacher, memories and losses of the run.
        attachment: Attachment of the distiller to the student: ``student(..., mode='loss')`` in
            training mode returns the distilled losses.
        options: Options of the hook.
        findings: Findings about the run.
        notes: Warnings of other packages so far, as findings of level info.
    """

    runner: Any
    ready: ReadyRun
    attachment: Attachment
    options: HookOptions
    findings: list[Finding]
    notes: list[Finding]

    @property
    def distiller(self) -> Distiller:
        """Teacher, memories and losses."""
        return self.ready.distiller

    @property
    def stored(self) -> dict[str, StoredBank]:
        """Location of the frozen bank of each level in the cache; empty without a cached bank."""
        return self.ready.frozen.stored

    @property
    def student(self) -> nn.Module:
        """The model that the run would train."""
        return self.runner.model

    @property
    def context(self) -> RunContext:
        """Settings, data and builders of the runner."""
        return self.ready.context


@contextmanager
def open_run(cfg: Config, sample: int | None = None) -> Iterator[OpenRun]:
    """Yield a run just before its first step.

    Errors that would stop the run are raised. Nothing is written to the run's work dir or to its
    visualization backends.

    Args:
        cfg: The whole config; it is not changed.
        sample: Maximum number of images of a small frozen bank, which is not cached and may lack
            classes; None: the whole bank.

    Raises:
        ICKDError: If there is not exactly one :class:`~mmickd.ICKDHook`, or the run cannot begin.
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
        hook.sample = sample
        handler = _OtherWarnings()
        runner.logger.addHandler(handler)
        try:
            with explain_empty_data():
                _begin(runner)
            assert hook.ready is not None and hook.attachment is not None
            yield OpenRun(
                runner, hook.ready, hook.attachment, hook.options, hook.findings, handler.notes
            )
        finally:
            hook.after_train(runner)
            runner.logger.removeHandler(handler)
            for file_handler in list(runner.logger.handlers):
                if isinstance(file_handler, logging.FileHandler):  # in the temporary folder
                    file_handler.close()
                    runner.logger.removeHandler(file_handler)


def _begin(runner: Any) -> None:
    """Let mmengine train with a loop that makes no step."""
    hooks, loop = runner._hooks, runner.train_loop

    def run() -> nn.Module:
        runner.call_hook("before_train")
        runner._hooks = []  # no hook is called for the end of the run, as nothing was trained
        return runner.model

    if loop is not None:  # without one, train() raises
        loop.run = run
    runner.train()
    runner._hooks = hooks


class _OtherWarnings(logging.Handler):
    """Handler that keeps the warnings and errors of other packages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.notes: list[Finding] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, "finding"):
            self.notes.append(Finding("other_package", "info", record.getMessage()))
