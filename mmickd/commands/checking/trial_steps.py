"""A few real steps of which nothing is kept: what each term says, and what each part takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from mmickd.commands.open_run import OpenRun
from mmickd.losses.schedules import TrainProgress
from mmickd.structures import Batch, Tapped
from mmickd.teachers import Teacher
from mmickd.teachers.base import Source
from mmickd.training.distiller import Distiller
from mmickd.utils.errors import ICKDError

STEPS = 4
"""Batches; the last one is what is told of, after clocks have settled and queues have rows."""
LOSS_SCALE = 2.0**16
"""Factor of a loss before its gradient is taken, where the optimizer's wrapper has none: that with
which torch's GradScaler begins. A power of two changes no digit of a float32 gradient."""


@dataclass(frozen=True)
class LossGradient:
    """What a loss does to the student.

    Args:
        value: weighted.
        weight: its largest, in which the value is told.
        gradient: norm of its gradient at the student's logits; None if it does not reach them.
    """

    value: float
    weight: float
    gradient: float | None


@dataclass(frozen=True, eq=False)
class StepReport:
    """A step with every weight at its largest.

    Args:
        student: shapes of its classifier's features and logits.
        teachers: those of each source; none if there is nothing to learn from at first.
        task: the task's own losses together.
        terms: by name in the log, without 'loss_'.
        seconds: by part of the step.
        labels: ``(R,)`` int64, of all labelled locations of the batches.
        said: ``(R,)`` int64, the first source's argmax there.
    """

    student: tuple[list[int], list[int]]
    teachers: list[tuple[list[int], list[int]]]
    task: LossGradient
    terms: dict[str, LossGradient]
    seconds: dict[str, float]
    labels: Tensor
    said: Tensor


def run_trial_steps(run: OpenRun) -> StepReport:
    """Take steps on batches of the training loader, but none of the student's optimizer.

    Raises:
        ICKDError: if there is no batch, or as the run's first steps would, also if a loss is not
            finite.
    """
    model: Any = run.student
    clock, loader = _Clock(run.run.device), run.runner.train_dataloader
    teacher = _Watched(run.distiller.teacher, clock)
    distiller = Distiller(
        cast(Teacher, teacher),
        run.distiller.terms.with_max_weights(),
        run.distiller.levels,
        run.options.anchors,
        run.options.bank.seed,
    )
    seen: list[tuple[Batch, Tapped, dict[str, Any]]] = []

    def look(batch: Batch, student: Tapped, losses: dict[str, Any]) -> dict[str, Any]:
        seen.append((batch, student, losses))
        return losses

    run.attachment.step = look
    model.train()
    answers = [(torch.zeros(0, dtype=torch.long),) * 2]
    for number, data in enumerate(_batches(loader)):
        with clock.timing("forward"), run.runner.optim_wrapper.optim_context(model):
            model._run_forward(model.data_preprocessor(data, True), mode="loss")
        batch, student, task_losses = seen.pop()
        now = TrainProgress(number, run.runner.max_iters, max(1, len(loader)))
        with clock.timing("step"):
            losses = distiller.step(batch, student, task_losses, now)
        retrieval = distiller.retrieval_seconds()
        distiller.watch.check()
        scale = _loss_scale(run.runner.optim_wrapper)
        task, terms = _pulls(model, distiller, student, losses, now, scale)
        with clock.timing("backward"):
            model.parse_losses(losses)[0].backward()
        spent = clock.collect()
        answers += [_labelled(source, batch, student) for source in teacher.sources[:1]]
        distiller.after_step(model, ends_epoch=False)
    labels, said = (torch.cat(parts) for parts in zip(*answers, strict=True))
    return StepReport(
        student=_shapes(student),
        teachers=[_shapes(source.outputs()) for source in teacher.sources],
        task=task,
        terms=terms,
        seconds={
            "student": spent["forward"] + spent["backward"],
            "teacher": spent["teacher"],
            "retrieval": retrieval,
            "losses": max(0.0, spent["step"] - spent["teacher"] - retrieval),
        },
        labels=labels,
        said=said,
    )


def _batches(loader: Any) -> Iterator[Any]:
    """Yield the first :data:`STEPS` batches; a short loader begins again, as long as it gives any.

    Raises:
        ICKDError: if the loader gives no batch.
    """
    left = STEPS
    while left:
        before = left
        for batch in islice(loader, left):
            yield batch
            left -= 1
        if left == STEPS:
            raise ICKDError(
                "train_dataloader gives no batch: its data set has fewer images than batch_size "
                "while drop_last=True, or its sampler names none. Set train_dataloader.batch_size "
                "lower, or drop_last=False."
            )
        if left == before:
            return


def _labelled(source: Source, batch: Batch, student: Tapped) -> tuple[Tensor, Tensor]:
    """Labels of a batch's locations that have one, and the source's argmax there."""
    rows = source.task.view(source.outputs(), batch, student).samples()
    known = rows.labels >= 0
    return rows.labels[known].cpu(), rows.logits[known].argmax(dim=1).cpu()


def _pulls(
    model: Any,
    distiller: Distiller,
    student: Tapped,
    losses: Mapping[str, Any],
    now: TrainProgress,
    scale: float,
) -> tuple[LossGradient, dict[str, LossGradient]]:
    """Of the task's own losses, and of each term."""
    logged, weights = distiller.logged_terms, distiller.terms.weights(now)
    own = {name: value for name, value in losses.items() if name not in logged}
    task = model.parse_losses(own)[0]
    return _pull(task, distiller.terms.task_weight(now, weights), student.logits, scale), {
        name.removeprefix("loss_"): _pull(losses[name], weights[term.name], student.logits, scale)
        for name, term in logged.items()
    }


def _pull(loss: Tensor, weight: float, logits: Tensor, scale: float = LOSS_SCALE) -> LossGradient:
    gradient = _gradient_norm(loss, logits, scale) if loss.requires_grad else None
    return LossGradient(float(loss.detach()), weight, gradient)


def _gradient_norm(loss: Tensor, logits: Tensor, scale: float) -> float | None:
    """Return the norm of a loss's gradient at the logits, taken as mixed precision takes it.

    Gradients of half precision below 6e-8 are 0, so the loss is scaled before; where a gradient
    overflows, with a smaller factor, as GradScaler does from one step to the next.

    Args:
        loss: scalar, with a gradient.
        logits: of any floating dtype.
        scale: first factor of the loss, at least 1.

    Returns:
        The norm without the factor; None if the loss does not reach the logits.
    """
    while True:
        (found,) = torch.autograd.grad(loss * scale, logits, retain_graph=True, allow_unused=True)
        if found is None:
            return None
        if scale <= 1 or bool(found.isfinite().all()):
            return float(found.double().norm()) / scale
        scale = max(1.0, scale / 2)


def _loss_scale(optim_wrapper: Any) -> float:
    """Return the factor of the loss with which an optimizer's wrapper goes backward."""
    scaler = getattr(optim_wrapper, "loss_scaler", None)
    return LOSS_SCALE if scaler is None else float(scaler.get_scale())


def _shapes(tapped: Tapped) -> tuple[list[int], list[int]]:
    return list(tapped.features.shape), list(tapped.logits.shape)


class _Clock:
    """Seconds of parts of a step, each waited for on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add what runs inside."""
        begin = self._now()
        yield
        self._spent[part] += self._now() - begin

    def collect(self) -> Mapping[str, float]:
        """Seconds of each part since the last call."""
        spent, self._spent = self._spent, defaultdict(float)
        return spent

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class _Watched:
    """A teacher whose time is taken, and whose latest sources are kept."""

    def __init__(self, teacher: Teacher, clock: _Clock) -> None:
        self._teacher, self._clock = teacher, clock
        self.sources: list[Source] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._teacher, name)

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See :meth:`Teacher.forward`."""
        with self._clock.timing("teacher"):
            sources = self._teacher.forward(batch, student)
        self.sources = [
            replace(
                one,
                outputs=self._timed(one.outputs),
                memory_outputs=self._timed(one.memory_outputs),
            )
            for one in sources
        ]
        return self.sources

    def _timed(self, ask: Any) -> Any:
        def answer() -> Tapped:
            with self._clock.timing("teacher"):
                return ask()

        return None if ask is None else answer
