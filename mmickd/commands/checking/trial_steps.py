"""Trial steps: a few training steps that measure value, gradient and time of each part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mmickd.commands.open_run import OpenRun
from mmickd.diagnostics.finding import Finding
from mmickd.losses.schedules import TrainProgress
from mmickd.structures import Batch, Tapped
from mmickd.teachers.base import Source
from mmickd.training.distiller import Distiller
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Stopwatch

STEPS = 4
"""Number of steps; the last step is reported, when times are stable and queues have rows."""
LOSS_SCALE = 2.0**16
"""Default factor of a loss before the backward pass: the initial factor of torch's GradScaler. A
power of two changes no digit of a float32 gradient."""
STRONG, WEAK = 50.0, 0.01
"""Limits of a term's gradient norm relative to the norm of the task's losses; norms outside are
reported. Published weights go up to 32 (DKD: weight 8, temperature 4)."""


@dataclass(frozen=True)
class LossGradient:
    """Value, weight and gradient of a loss.

    Args:
        value: Value of the loss times ``weight``.
        weight: Maximum weight of the loss in the run.
        gradient: Norm of the gradient at the student's logits; None if the loss does not depend on
            them.
    """

    value: float
    weight: float
    gradient: float | None


@dataclass(frozen=True, eq=False)
class StepReport:
    """Report on a step with every weight at its maximum.

    Args:
        student: Shapes of the features and logits of the student's classifier layer.
        teachers: The same shapes of each source; empty if the first steps have no source.
        task: Sum of the task's own losses.
        terms: Terms by log name, without 'loss_'.
        seconds: Time of each part of the step.
        labels: ``(R,)`` int64, labels of all labelled locations of the batches.
        predictions: ``(R,)`` int64, the first source's argmax there.
    """

    student: tuple[list[int], list[int]]
    teachers: list[tuple[list[int], list[int]]]
    task: LossGradient
    terms: dict[str, LossGradient]
    seconds: dict[str, float]
    labels: Tensor
    predictions: Tensor

    def gradient_findings(self) -> Iterator[Finding]:
        """Yield a finding for each term whose gradient is tiny or huge relative to the task's."""
        for name, term in self.terms.items():
            if not self.task.gradient or term.gradient is None:
                continue
            ratio = term.gradient / self.task.gradient
            gradient = f"the gradient of loss_{name} at the student's logits has a norm of "
            if ratio > STRONG:
                yield Finding(
                    "strong_gradient",
                    "warning",
                    f"{gradient}{ratio:.0f} times the task's at full weight: set its loss_weight "
                    "lower.",
                )
            elif ratio < WEAK:
                yield Finding(
                    "weak_gradient",
                    "warning",
                    f"{gradient}{ratio:.1g} times the task's at full weight, so it has hardly any "
                    "effect: set its loss_weight higher, or the term to None.",
                )


def run_trial_steps(run: OpenRun) -> StepReport:
    """Make trial steps on batches of the training loader; the student's optimizer makes no step.

    Raises:
        ICKDError: If there is no batch, a loss is not finite, or the run's first steps would fail.
    """
    model: Any = run.student
    device, loader = run.context.device, run.runner.train_dataloader
    stopwatches = defaultdict[str, Stopwatch](Stopwatch)
    distiller = _TimedDistiller(run, stopwatches["teacher"])
    steps: list[tuple[Batch, Tapped, dict[str, Any]]] = []

    def keep(batch: Batch, student: Tapped, losses: dict[str, Any]) -> dict[str, Any]:
        steps.append((batch, student, losses))
        return losses

    run.attachment.step = keep
    model.train()
    rows = [(torch.zeros(0, dtype=torch.long),) * 2]
    for number, data in enumerate(_batches(loader)):
        with stopwatches["forward"].timed(device), run.runner.optim_wrapper.optim_context(model):
            model._run_forward(model.data_preprocessor(data, True), mode="loss")
        batch, student, task_losses = steps.pop()
        progress = TrainProgress(number, run.runner.max_iters, max(1, len(loader)))
        with stopwatches["step"].timed(device):
            losses = distiller.step(batch, student, task_losses, progress)
        _wait_for(device)
        retrieval = distiller.retrieval_seconds() if run.ready.requests else 0.0
        distiller.nan_guard.check()
        scale = _loss_scale(run.runner.optim_wrapper)
        task, terms = _gradients(model, distiller, student, losses, progress, scale)
        with stopwatches["backward"].timed(device):
            model.parse_losses(losses)[0].backward()
        _wait_for(device)
        seconds = {part: stopwatch.collect() for part, stopwatch in stopwatches.items()}
        rows += [_labels_and_predictions(source, batch, student) for source in distiller.latest[:1]]
        distiller.after_step(model, ends_epoch=False)
    labels, predictions = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return StepReport(
        student=_shapes(student),
        teachers=[_shapes(source.outputs()) for source in distiller.latest],
        task=task,
        terms=terms,
        seconds={
            "student": seconds["forward"] + seconds["backward"],
            "teacher": seconds["teacher"],
            "retrieval": retrieval,
            "losses": max(0.0, seconds["step"] - seconds["teacher"] - retrieval),
        },
        labels=labels,
        predictions=predictions,
    )


class _TimedDistiller(Distiller):
    """Distiller with every weight at its maximum, which measures the time of the teacher.

    Args:
        run: The run, before its first step.
        stopwatch: Stopwatch of the teacher's forward passes.

    Attributes:
        latest (list[Source]): Sources of the latest step.
    """

    def __init__(self, run: OpenRun, stopwatch: Stopwatch) -> None:
        super().__init__(
            run.distiller.teacher,
            run.distiller.terms.with_max_weights(),
            run.distiller.levels,
            run.options.anchors,
            run.options.bank.seed,
        )
        self._stopwatch, self._device = stopwatch, run.context.device
        self.latest: list[Source] = []

    def sources(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See :meth:`Distiller.sources`."""
        with self._stopwatch.timed(self._device):
            sources = super().sources(batch, student)
        self.latest = [
            replace(
                source,
                outputs=self._timed(source.outputs),
                memory_outputs=source.memory_outputs and self._timed(source.memory_outputs),
            )
            for source in sources
        ]
        return self.latest

    def _timed(self, forward: Callable[[], Tapped]) -> Callable[[], Tapped]:
        def timed_forward() -> Tapped:
            with self._stopwatch.timed(self._device):
                return forward()

        return timed_forward


def _batches(loader: Any) -> Iterator[Any]:
    """Yield the first :data:`STEPS` batches; a shorter loader is read again.

    Raises:
        ICKDError: If the loader has no batch.
    """
    left = STEPS
    while left:
        before = left
        for batch in islice(loader, left):
            yield batch
            left -= 1
        if left == STEPS:
            raise ICKDError(
                "train_dataloader has no batch: its data set has fewer images than batch_size "
                "while drop_last=True, or its sampler is empty. Set train_dataloader.batch_size "
                "lower, or drop_last=False."
            )
        if left == before:  # the loader cannot be read again
            return


def _labels_and_predictions(source: Source, batch: Batch, student: Tapped) -> tuple[Tensor, Tensor]:
    """Return the labels of a batch's labelled locations, and the source's argmax there."""
    rows = source.task.view(source.outputs(), batch, student).samples()
    is_labelled = rows.labels >= 0
    return rows.labels[is_labelled].cpu(), rows.logits[is_labelled].argmax(dim=1).cpu()


def _gradients(
    model: Any,
    distiller: Distiller,
    student: Tapped,
    losses: Mapping[str, Any],
    progress: TrainProgress,
    scale: float,
) -> tuple[LossGradient, dict[str, LossGradient]]:
    """Return the gradient of the sum of the task's own losses, and of each term."""
    logged, weights = distiller.logged_terms, distiller.terms.weights(progress)
    task_losses = {name: value for name, value in losses.items() if name not in logged}
    task = model.parse_losses(task_losses)[0]
    task_weight = distiller.terms.task_weight(progress, weights)
    return _gradient(task, task_weight, student.logits, scale), {
        name.removeprefix("loss_"): _gradient(
            losses[name], weights[term.name], student.logits, scale
        )
        for name, term in logged.items()
    }


def _gradient(loss: Tensor, weight: float, logits: Tensor, scale: float) -> LossGradient:
    norm = _gradient_norm(loss, logits, scale) if loss.requires_grad else None
    return LossGradient(float(loss.detach()), weight, norm)


def _gradient_norm(loss: Tensor, logits: Tensor, scale: float) -> float | None:
    """Return the norm of a loss's gradient at the logits, with loss scaling as in mixed precision.

    Gradients below 6e-8 are 0 in half precision, so the loss is scaled first. If a gradient
    overflows, the factor is halved, as GradScaler does in later steps.

    Args:
        loss: Scalar, with a gradient.
        logits: The student's logits, of any floating dtype.
        scale: First factor of the loss, at least 1.

    Returns:
        The norm without the factor; None if the loss does not depend on the logits.
    """
    while True:
        (gradient,) = torch.autograd.grad(
            loss * scale, logits, retain_graph=True, allow_unused=True
        )
        if gradient is None:
            return None
        if scale <= 1 or bool(gradient.isfinite().all()):
            return float(gradient.double().norm()) / scale
        scale = max(1.0, scale / 2)


def _loss_scale(optim_wrapper: Any) -> float:
    """Return the factor of the loss in the backward pass of an optimizer's wrapper."""
    scaler = getattr(optim_wrapper, "loss_scaler", None)
    return LOSS_SCALE if scaler is None else float(scaler.get_scale())


def _shapes(tapped: Tapped) -> tuple[list[int], list[int]]:
    return list(tapped.features.shape), list(tapped.logits.shape)


def _wait_for(device: torch.device) -> None:
    """Wait until the device has finished, so that stopwatches have all times."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
