"""Hook that distils the student of a run, from the first check to the last step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from mmengine import dist
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from mmickd.diagnostics.finding import Finding
from mmickd.hooks.attachment import Attachment
from mmickd.hooks.other_hooks import is_log_due, lost_hook_findings, refuse_several
from mmickd.hooks.similarity import SimilarityMonitor
from mmickd.losses.schedules import TrainProgress
from mmickd.registry import HOOKS
from mmickd.structures import Batch, Tapped
from mmickd.teachers import Teacher
from mmickd.teachers.run_context import run_context
from mmickd.training.checked_run import check_run
from mmickd.training.distiller import Distiller
from mmickd.training.options import (
    HookOptions,
    build_retriever,
    build_teacher,
    read_bank_options,
    read_levels,
)
from mmickd.training.preparation import ReadyRun, prepare
from mmickd.utils.errors import ICKDError
from mmickd.utils.packages import repair_scopes
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.validation import check_names, parameters_of

CHECKPOINT_KEY = "mmickd"
"""Key of a checkpoint beside ``state_dict``; stock tools load the student without it."""


@HOOKS.register_module()
class ICKDHook(Hook):
    """Hook for in-context knowledge distillation of the student that a run trains.

    The hook adds the terms of ``losses`` to the student's losses. Student, checkpoint keys,
    optimizer and EMA stay as they are; with every weight 0 the run is bit for bit the run without
    the hook.

    Source: arXiv 2501.07040 (offline, online and teacher-free).

    Args:
        teacher: Config of the teacher, see :class:`~mmickd.teachers.OfflineTeacher`,
            :class:`~mmickd.teachers.SelfTeacher` and :class:`~mmickd.teachers.OnlineTeacher`.
        level: 'image', 'pixel', 'region', or ['pixel', 'region']; None: 'image' for classifiers,
            'pixel' for segmenters.
        layer: Name of the student's last classifier layer; 'auto' searches for it.
        query: 'view' retrieves by the teacher's features of the augmented view, 'bank' by the
            bank's features of the same image (not at pixel level).
        bank: Options of the memory bank, see :class:`~mmickd.banks.BankOptions`.
        anchors: Pixels per image that are queries (level 'pixel').
        retriever: Config of the retriever; None: ``TorchRetriever``.
        losses: Options of each term by name: the ``type`` of a registered loss, its options and
            its ``loss_weight``, a number or a dict
            (:class:`~mmickd.losses.schedules.WeightSchedule`). Vanilla KD, PICD and NICD are
            added unless they are None (:data:`mmickd.losses.terms.DEFAULT_TERMS`); the defaults of
            their options depend on the task. The entry 'task' has the ``loss_weight`` of the task's
            own losses: 1 by default; 'complement' is 1 minus the weight of KD.
        exclude_same_id: True leaves out bank rows of the query's image.

    Attributes:
        options (HookOptions): All options, checked.
        ready (ReadyRun | None): Teacher, banks and losses of the run; None unless the run trains.
        attachment (Attachment | None): Attachment to the student; None unless the run trains.
        findings (list[Finding]): Findings about the run so far.
        sample (int | None): Maximum number of images of a small frozen bank, for ``mmickd check``;
            a small bank is not cached and may lack classes. None: the whole bank.

    Raises:
        ICKDError: If an option is unknown or out of range.

    Example:
        >>> hook = ICKDHook(teacher=dict(type="SelfTeacher"), losses=dict(picd=None))
        >>> hook.distiller is None  # until the run trains
        True
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
        check_names(unknown, [*parameters_of(ICKDHook), "priority"], "ICKDHook")
        repair_scopes()
        self.options = HookOptions(
            teacher=build_teacher(teacher),
            level=read_levels(level),
            layer=layer,
            query=query,
            bank=read_bank_options(bank),
            anchors=anchors,
            retriever=build_retriever(retriever),
            losses=losses,
            exclude_same_id=exclude_same_id,
        )
        self.ready: ReadyRun | None = None
        self.attachment: Attachment | None = None
        self.findings: list[Finding] = []
        self.sample: int | None = None
        self._runner: Any = None
        self._saved_state: Any = None
        self._similarities = SimilarityMonitor([])
        self._last_iter_end = 0.0

    @property
    def distiller(self) -> Distiller | None:
        """Distiller with teacher, memories and losses; None unless the run trains."""
        return None if self.ready is None else self.ready.distiller

    @property
    def _teacher(self) -> Teacher:
        return self.options.teacher

    def before_run(self, runner: Any) -> None:
        """Check the other hooks and the teacher's files, before slow steps."""
        if isinstance(runner._train_loop, BaseLoop):
            refuse_several(runner.hooks, ICKDHook)
            self._report(lost_hook_findings(runner.hooks, runner.cfg.filename, ICKDHook))
            self._teacher.check_files()

    def before_train(self, runner: Any) -> None:
        """Check the run, build teacher and banks, and attach to the student.

        This is the last stage before training that all runners of mmengine have in common.
        """
        model = _unwrap(runner.model)
        begin = time.monotonic()
        sample = self.sample if self._teacher.is_frozen else None
        options = self.options if sample is None else self.options.with_sample(sample)
        with preserved_random_state():
            checked = check_run(options, run_context(runner, model))
            self._report(checked.findings)
            self.ready = ready = prepare(options, checked, sample is not None)
        self._report(ready.frozen.findings)
        if runner.iter:  # resumed
            self._restore()
        self._runner, self._saved_state = runner, None
        self._similarities = SimilarityMonitor(ready.distiller.similarities)
        self.attachment = Attachment(model, ready.layer, self._step)
        self._last_iter_end = time.perf_counter()
        print_log(
            f"In-context distillation is ready after {time.monotonic() - begin:.1f} s: levels "
            f"{', '.join(ready.distiller.levels)}; student layer {ready.layer}, teacher layer "
            f"{self._teacher.layers}",
            logger="current",
        )
        for terms in ready.all_terms:
            described = "; ".join(f"{name}: {text}" for name, text in terms.descriptions.items())
            print_log(f"Terms of {terms.where}: {described}", logger="current")

    def _report(self, findings: Iterable[Finding]) -> None:
        """Log findings, and add them to :attr:`findings`."""
        for finding in findings:
            finding.log()
            self.findings.append(finding)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Update teacher and queues, and log retrieval's share of the iteration's time."""
        distiller = self.distiller
        if distiller is None:
            return
        logged = distiller.after_step(_unwrap(runner.model), _progress_of(runner).ends_epoch)
        now = time.perf_counter()
        seconds, self._last_iter_end = now - self._last_iter_end, now
        if seconds > 0 and any(memory.banks for memory in self._teacher.memories.values()):
            logged["retrieval_share"] = distiller.retrieval_seconds() / seconds
        for name, value in logged.items():
            runner.message_hub.update_scalar(f"train/{name}", value)
        if is_log_due(runner, batch_idx):
            distiller.nan_guard.check()
            self._similarities.update(runner.message_hub.log_scalars)

    def after_train_epoch(self, runner: Any) -> None:
        """Check the losses, since a checkpoint may follow, and update what counts epochs."""
        if self.distiller is not None:
            self.distiller.nan_guard.check()
            self._teacher.after_epoch()

    def before_val(self, runner: Any) -> None:
        """Check the losses, since the best checkpoint may be saved after validation."""
        if self.distiller is not None:
            self.distiller.nan_guard.check()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Validate the teacher's networks, if its options request it."""
        if self.distiller is not None:
            for name, value in self._teacher.validate(runner.val_loop).items():
                runner.message_hub.update_scalar(f"val/{name}", value)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the state of a teacher that learns; ``mmickd publish`` leaves it out.

        Raises:
            ICKDError: If a loss was not finite since the last checkpoint.
        """
        if self.distiller is None:
            return
        # In most cases only rank 0 calls this. Before a checkpoint by iteration, all ranks have
        # checked their losses in after_train_iter.
        self.distiller.nan_guard.check(alone=True)
        if not self._teacher.is_frozen:
            checkpoint[CHECKPOINT_KEY] = self._teacher.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the state of a resumed run's teacher until the teacher is built."""
        self._saved_state = checkpoint.get(CHECKPOINT_KEY)

    def after_train(self, runner: Any) -> None:
        """Detach from the student."""
        if self.attachment is not None:
            self.attachment.detach()
            if not self._teacher.is_frozen:
                print_log(
                    "The checkpoints hold the teacher and its queues beside the student. "
                    "`mmickd publish CHECKPOINT OUT` writes the student alone.",
                    logger="current",
                )
        self.attachment = self.ready = self._runner = None

    def _restore(self) -> None:
        """Load the state of a teacher that learns from the resumed checkpoint."""
        teacher, state = self._teacher, self._saved_state
        if teacher.is_frozen:
            return
        if isinstance(state, dict) and teacher.state_key in state:
            try:
                teacher.load_state_dict(state)
            except ICKDError:
                raise
            except Exception as error:  # any error that a damaged state leads to
                raise ICKDError(
                    f"the resumed checkpoint's '{CHECKPOINT_KEY}' cannot be loaded "
                    f"({type(error).__name__}: {error}). Resume from an earlier checkpoint."
                ) from error
        elif teacher.resume == "fresh":
            print_log(
                "The resumed checkpoint has no state of this teacher: the teacher starts anew",
                logger="current",
            )
        else:
            raise ICKDError(
                "the resumed checkpoint has no state of this teacher: the run was trained without "
                "ICKDHook, or with a teacher of another kind. Resume with that config, or set "
                "teacher.resume='fresh' to start the teacher anew."
            )

    def _step(self, batch: Batch, student: Tapped, task_losses: dict[str, Any]) -> dict[str, Any]:
        """Return the losses of a distilled step."""
        assert self.distiller is not None
        return self.distiller.step(batch, student, task_losses, _progress_of(self._runner))


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


def _progress_of(runner: Any) -> TrainProgress:
    length = _iterations_per_epoch(runner.train_dataloader)
    return TrainProgress(runner.iter, runner.max_iters, length)


def _iterations_per_epoch(loader: Any) -> int:
    """Return the iterations in which all ranks together read the training set once."""
    length = len(loader)
    if isinstance(loader.sampler, InfiniteSampler):
        # The length is the size of the data set, for any number of ranks.
        length = math.ceil(length / dist.get_world_size())
    return max(1, length)
