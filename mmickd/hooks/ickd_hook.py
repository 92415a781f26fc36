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

from mmickd.building.build import MIN_CLASSES
from mmickd.hooks.attachment import Attachment
from mmickd.hooks.other_hooks import is_read_now, refuse_several, warn_of_lost_hooks
from mmickd.hooks.similarity import SimilarityWatch
from mmickd.losses.schedules import TrainProgress
from mmickd.registry import HOOKS
from mmickd.structures import Batch, Tapped
from mmickd.teachers import Teacher
from mmickd.teachers.run_context import RunContext, TrainingTools
from mmickd.training.distiller import Distiller
from mmickd.training.options import HookOptions
from mmickd.training.preparation import ReadyRun, prepare
from mmickd.utils.errors import ICKDError
from mmickd.utils.packages import repair_scopes
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.validation import check_names, parameters_of

CHECKPOINT_KEY = "mmickd"
"""Key of a checkpoint beside ``state_dict``; stock tools load the student without it."""


@HOOKS.register_module()
class ICKDHook(Hook):
    """In-context knowledge distillation for the student that the run trains.

    Adds the terms of ``losses`` to the student's own. Student, checkpoint keys, optimizer and EMA
    stay as they are; with every weight 0 the run is bit for bit the run without the hook.

    Source: arXiv 2501.07040 (offline, online and teacher-free).

    Args:
        teacher: config of the teacher, see :class:`~mmickd.teachers.OfflineTeacher`,
            :class:`~mmickd.teachers.SelfTeacher` and :class:`~mmickd.teachers.OnlineTeacher`.
        level: 'image', 'pixel', 'region', or ['pixel', 'region']; None: 'image' for classifiers,
            'pixel' for segmenters.
        layer: the student's last classifier layer; 'auto' finds it.
        query: 'view' retrieves by the teacher's features of the augmented view, 'bank' by those
            that the bank holds of the same image (not at pixel level).
        bank: see :class:`~mmickd.banks.BankOptions`.
        anchors: pixels per image that are queries (level 'pixel').
        retriever: config of the retriever; None: ``TorchRetriever``.
        losses: dicts of options by name of the term, each with the ``type`` of a registered loss
            and its ``loss_weight``: a number or a dict
            (:class:`~mmickd.losses.schedules.WeightSchedule`). Vanilla KD, PICD and NICD are there
            unless they are None (those that a task does not count by itself with weight 0), see
            :data:`mmickd.losses.terms.DEFAULT_TERMS`. Under 'task',
            ``loss_weight`` of the task's own losses (1), or 'complement': 1 minus that of KD.
        exclude_same_id: leave out bank rows of the query's own image.

    Attributes:
        min_classes (int): classes that a frozen bank must have rows of; ``mmickd check`` builds
            a small bank, which may miss classes that the training set has.

    Raises:
        ICKDError: if an option is unknown or out of range.

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
        given = locals()
        options = parameters_of(ICKDHook)
        check_names(unknown, [*options, "priority"], "ICKDHook")
        repair_scopes()
        self._options = HookOptions.read({name: given[name] for name in options})
        self.min_classes = MIN_CLASSES
        self._ready: ReadyRun | None = None
        self._distiller: Distiller | None = None
        self._attachment: Attachment | None = None
        self._runner: Any = None
        self._saved: Any = None
        self._similarities = SimilarityWatch([])
        self._last_iter_end = 0.0

    @property
    def distiller(self) -> Distiller | None:
        """Teacher, memories and losses while the run trains."""
        return self._distiller

    @property
    def ready(self) -> ReadyRun | None:
        """All that the run takes its steps with, while it trains."""
        return self._ready

    @property
    def attachment(self) -> Attachment | None:
        """To the student while the run trains."""
        return self._attachment

    @property
    def options(self) -> HookOptions:
        """As given, checked."""
        return self._options

    @property
    def _teacher(self) -> Teacher:
        return self._options.teacher

    def before_run(self, runner: Any) -> None:
        """Look at the other hooks and for the teacher's files, before anything long happens."""
        if isinstance(runner._train_loop, BaseLoop):
            refuse_several(runner.hooks, ICKDHook)
            warn_of_lost_hooks(runner.hooks, runner.cfg.filename, ICKDHook)
            self._teacher.check_files()

    def before_train(self, runner: Any) -> None:
        """Check, build and attach; the last stage that is alike in all runners of mmengine."""
        model = _unwrap(runner.model)
        begin = time.monotonic()
        with preserved_random_state():
            ready = prepare(self._options, run_context(runner, model), self.min_classes)
        self._ready, self._distiller = ready, ready.distiller
        if runner.iter:  # resumed
            self._restore()
        self._runner, self._saved = runner, None
        self._similarities = SimilarityWatch(self._distiller.similarities)
        self._attachment = Attachment(model, ready.layer, self._step)
        self._last_iter_end = time.perf_counter()
        print_log(
            f"In-context distillation is ready after {time.monotonic() - begin:.1f} s: levels "
            f"{', '.join(self._distiller.levels)}; student layer {ready.layer}, teacher layer "
            f"{self._teacher.layers}",
            logger="current",
        )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Let the teacher learn, and log the share of the iteration that retrieval took."""
        distiller = self._distiller
        if distiller is None:
            return
        logged = distiller.after_step(_unwrap(runner.model), _time_of(runner).ends_epoch)
        now = time.perf_counter()
        passed, self._last_iter_end = now - self._last_iter_end, now
        if passed > 0 and any(memory.banks for memory in self._teacher.memories.values()):
            logged["retrieval_share"] = distiller.retrieval_seconds() / passed
        for name, value in logged.items():
            runner.message_hub.update_scalar(f"train/{name}", value)
        if is_read_now(runner, batch_idx):
            distiller.watch.check()
            self._similarities.look(runner.message_hub.log_scalars)

    def after_train_epoch(self, runner: Any) -> None:
        """Step what of the teacher counts epochs; a checkpoint may be due now."""
        if self._distiller is not None:
            self._distiller.watch.check()
            self._teacher.after_epoch()

    def before_val(self, runner: Any) -> None:
        """The best checkpoint may be due after it."""
        if self._distiller is not None:
            self._distiller.watch.check()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Validate the teacher's networks, if that is wanted."""
        if self._distiller is not None:
            for name, value in self._teacher.validate(runner.val_loop).items():
                runner.message_hub.update_scalar(f"val/{name}", value)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put what the teacher has learnt beside the student; ``mmickd publish`` leaves it out.

        Raises:
            ICKDError: if a loss was not finite since the last checkpoint.
        """
        if self._distiller is None:
            return
        # Mostly rank 0 alone saves. What is due at an iteration was looked at on all ranks before.
        self._distiller.watch.check(alone=True)
        if not self._teacher.is_frozen:
            checkpoint[CHECKPOINT_KEY] = self._teacher.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run's teacher had learnt until the teacher is there."""
        self._saved = checkpoint.get(CHECKPOINT_KEY)

    def after_train(self, runner: Any) -> None:
        """Leave the student as it was."""
        if self._attachment is not None:
            self._attachment.detach()
            if not self._teacher.is_frozen:
                print_log(
                    "The checkpoints hold the teacher and its queues beside the student. "
                    "`mmickd publish CHECKPOINT OUT` writes the student alone.",
                    logger="current",
                )
        self._attachment = self._ready = self._distiller = self._runner = None

    def _restore(self) -> None:
        """Go on where a run was stopped, with a teacher that learns."""
        teacher, state = self._teacher, self._saved
        if teacher.is_frozen:
            return
        if isinstance(state, dict) and teacher.state_key in state:
            try:
                teacher.load_state_dict(state)
            except ICKDError:
                raise
            except Exception as error:  # whatever a damaged state leads to
                raise ICKDError(
                    f"the resumed checkpoint's '{CHECKPOINT_KEY}' cannot be taken up "
                    f"({type(error).__name__}: {error}). Resume from an earlier checkpoint."
                ) from error
        elif teacher.resume == "fresh":
            print_log(
                "The resumed checkpoint holds no such teacher: it begins anew", logger="current"
            )
        else:
            raise ICKDError(
                "the resumed checkpoint holds no such teacher of this hook: it was trained "
                "without, or with one of another kind. Resume with that config, or set "
                "teacher.resume='fresh' to begin anew."
            )

    def _step(self, batch: Batch, student: Tapped, task_losses: dict[str, Any]) -> dict[str, Any]:
        """One distilled step."""
        assert self._distiller is not None
        return self._distiller.step(batch, student, task_losses, _time_of(self._runner))


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


def _time_of(runner: Any) -> TrainProgress:
    length = _iterations_per_epoch(runner.train_dataloader)
    return TrainProgress(runner.iter, runner.max_iters, length)


def _iterations_per_epoch(loader: Any) -> int:
    """Iterations in which all ranks together see the training set once."""
    length = len(loader)
    if isinstance(loader.sampler, InfiniteSampler):
        # Its length is that of the data set, whatever the number of ranks.
        length = math.ceil(length / dist.get_world_size())
    return max(1, length)


def run_context(runner: Any, student: nn.Module) -> RunContext:
    """What teachers and preparation need of a runner whose loops are built."""
    loader = runner.train_dataloader
    val_loop = getattr(runner, "_val_loop", None)
    val_loader = getattr(val_loop, "dataloader", None)
    return RunContext(
        student=student,
        device=next(student.parameters()).device,
        train_dataset=loader.dataset,
        val_dataset=getattr(val_loader, "dataset", None),
        batch_size=int(getattr(loader, "batch_size", None) or 1),
        num_workers=int(getattr(loader, "num_workers", 0)),
        batches=_batches(loader),
        has_worker_copies=_has_workers(getattr(runner, "_train_loop", None)),
        collate=loader.collate_fn,
        cfg=runner.cfg,
        tools=TrainingTools(runner) if isinstance(runner, Runner) else None,
    )


def _batches(loader: Any) -> int | None:
    """Batches of an epoch; None if they never end, or their number is not known."""
    try:
        return None if isinstance(loader.sampler, InfiniteSampler) else len(loader)
    except TypeError:  # of an iterable data set, or a sampler without length
        return None


def _has_workers(train_loop: Any) -> bool:
    """True if the loop has begun to iterate, in processes of its own (mmengine's does at once)."""
    iterator = getattr(getattr(train_loop, "dataloader_iterator", None), "_iterator", None)
    return bool(getattr(iterator, "_workers", None))
