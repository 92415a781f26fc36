"""The life of in-context distillation in a run."""

from __future__ import annotations

import math
import time
from typing import Any

from mmengine import dist
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmickd.distiller import Distiller
from mmickd.hooks.attachment import Attachment
from mmickd.hooks.learnt import CHECKPOINT_KEY, restore
from mmickd.mutual import MutualDistiller
from mmickd.options import HookOptions
from mmickd.preparation import prepare
from mmickd.registry import HOOKS
from mmickd.run_parts import PeerTools, RunParts
from mmickd.schedules import RunTime
from mmickd.taps import Tapped
from mmickd.teachers import OnlineTeacher
from mmickd.utils.options import check_names, parameters_of
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.stack import repair_scopes


@HOOKS.register_module()
class ICKDHook(Hook):
    """In-context knowledge distillation for the student that the run trains.

    Adds ``loss_kd``, ``loss_picd`` and ``loss_nicd`` to the student's losses. Student, checkpoint
    keys, optimizer and EMA stay as they are; with every weight 0 the run is bit for bit the run
    without the hook.

    Source: arXiv 2501.07040 (offline, online and teacher-free).

    Args:
        teacher: config of the teacher, see :class:`~mmickd.teachers.OfflineTeacher`,
            :class:`~mmickd.teachers.SelfTeacher` and :class:`~mmickd.teachers.OnlineTeacher`.
        level: 'image', 'pixel', 'region', or ['pixel', 'region']; None: 'image' for classifiers,
            'pixel' for segmenters.
        layer: the student's last classifier layer; 'auto' finds it.
        query: 'view' retrieves by the teacher's features of the augmented view, 'bank' by those
            that the bank holds of the same image (not at pixel level).
        bank: see :class:`~mmickd.options.BankSettings`.
        anchors: pixels per image that are queries (level 'pixel').
        retriever: config of the retriever; None: ``TorchRetriever``.
        losses: dicts of options under 'kd', 'picd' and 'nicd'; ``loss_weight`` is a number or a
            dict (:class:`~mmickd.schedules.WeightSchedule`). An omitted term keeps its defaults,
            None switches it off. Under 'task', ``loss_weight`` of the task's own losses (1), or
            'complement': 1 minus that of KD.
        exclude_same_id: leave out bank rows of the query's own image.

    Raises:
        ICKDError: if an option is unknown or out of range.
    """

    priority = "NORMAL"

    def __init__(
        self,
        teacher: Any = None,
        level: Any = None,
        layer: str = "auto",
        query: str = "view",
        bank: Any = None,
        anchors: int = 512,
        retriever: Any = None,
        losses: Any = None,
        exclude_same_id: bool = True,
        **unknown: Any,
    ) -> None:
        allowed = [n for n in parameters_of(ICKDHook) if n != "unknown"]
        check_names(unknown, [*allowed, "priority"], "ICKDHook")
        repair_scopes()
        self._options = HookOptions.of(
            teacher, level, layer, query, bank, anchors, retriever, losses, exclude_same_id
        )
        self._distiller: Distiller | MutualDistiller | None = None
        self._attachment: Attachment | None = None
        self._runner: Any = None
        self._saved: dict[str, Any] | None = None
        self._last_iter_end = 0.0

    @property
    def distiller(self) -> Distiller | MutualDistiller | None:
        """Teacher, banks and losses while the run trains."""
        return self._distiller

    def before_run(self, runner: Any) -> None:
        """Look for the teacher's files, before anything long happens."""
        if isinstance(runner._train_loop, BaseLoop):
            self._options.teacher.check_files()

    def before_train(self, runner: Any) -> None:
        """Check, build and attach; the last stage that is alike in all runners of mmengine."""
        model = _unwrap(runner.model)
        begin = time.monotonic()
        with preserved_random_state():
            self._distiller, layer = prepare(self._options, _parts_of(runner, model))
        if runner.iter:  # resumed
            restore(self._distiller, self._saved, self._options.teacher.resume)
        self._runner, self._saved = runner, None
        self._attachment = Attachment(model, layer, self._step)
        self._last_iter_end = time.perf_counter()
        print_log(
            f"In-context distillation is ready after {time.monotonic() - begin:.1f} s: levels "
            f"{', '.join(self._distiller.levels)}; student layer {layer}, teacher layer "
            f"{self._distiller.teacher_layers}",
            logger="current",
        )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Let the teacher learn, and log the share of the iteration that retrieval took."""
        if self._distiller is not None:
            ends_epoch = _time_of(runner).ends_epoch
            logged = self._distiller.after_step(_unwrap(runner.model), ends_epoch)
            for name, value in logged.items():
                runner.message_hub.update_scalar(f"train/{name}", value)
        now = time.perf_counter()
        passed, self._last_iter_end = now - self._last_iter_end, now
        if self._distiller is not None and self._distiller.banks and passed > 0:
            share = self._distiller.retrieval_seconds() / passed
            runner.message_hub.update_scalar("train/retrieval_share", share)

    def after_train_epoch(self, runner: Any) -> None:
        """Step what of the peers counts epochs."""
        if isinstance(self._distiller, MutualDistiller):
            self._distiller.after_epoch()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Validate the peers, if that is wanted."""
        distiller, loop, teacher = self._distiller, runner.val_loop, self._options.teacher
        wanted = isinstance(teacher, OnlineTeacher) and teacher.validate
        if wanted and isinstance(distiller, MutualDistiller):
            found = distiller.validate(loop.dataloader, loop.evaluator)
            for name, value in found.items():
                runner.message_hub.update_scalar(f"val/{name}", value)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put what the teacher has learnt beside the student, where stock tools do not look."""
        if self._distiller is not None and self._distiller.learns:
            checkpoint[CHECKPOINT_KEY] = self._distiller.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run's teacher had learnt until the teacher is there."""
        self._saved = checkpoint.get(CHECKPOINT_KEY)

    def after_train(self, runner: Any) -> None:
        """Leave the student as it was."""
        if self._attachment is not None:
            self._attachment.detach()
        self._attachment = self._distiller = self._runner = None

    def _step(
        self, inputs: Any, data_samples: Any, student: Tapped, task_losses: dict[str, Any]
    ) -> dict[str, Any]:
        """One distilled step."""
        assert self._distiller is not None
        time = _time_of(self._runner)
        return self._distiller.joined(inputs, data_samples, student, task_losses, time)


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


def _time_of(runner: Any) -> RunTime:
    length = _iterations_per_epoch(runner.train_dataloader)
    return RunTime(runner.iter, runner.max_iters, length)


def _iterations_per_epoch(loader: Any) -> int:
    """Iterations in which all ranks together see the training set once."""
    length = len(loader)
    if isinstance(loader.sampler, InfiniteSampler):
        # Its length is that of the data set, whatever the number of ranks.
        length = math.ceil(length / dist.get_world_size())
    return max(1, length)


def _parts_of(runner: Any, model: nn.Module) -> RunParts:
    loader = runner.train_dataloader
    val_loop = getattr(runner, "_val_loop", None)
    val_loader = getattr(val_loop, "dataloader", None)
    return RunParts(
        model=model,
        device=next(model.parameters()).device,
        train_dataset=loader.dataset,
        val_dataset=getattr(val_loader, "dataset", None),
        batch_size=int(getattr(loader, "batch_size", None) or 1),
        num_workers=int(getattr(loader, "num_workers", 0)),
        peer_tools=PeerTools(runner) if isinstance(runner, Runner) else None,
    )
