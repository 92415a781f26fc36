"""One distillation step: from a batch to named losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.banks.distributing import Bank
from mmickd.banks.gathering import gather_samples
from mmickd.banks.queue_bank import QueueBank, load_queue_states, queue_states
from mmickd.losses.averaging import average_factors
from mmickd.losses.joining import join_losses
from mmickd.losses.kd import counted_kd
from mmickd.losses.nicd import counted_nicd
from mmickd.losses.picd import counted_picd
from mmickd.losses.terms import LossTerms
from mmickd.retrieval.stored_query import StoredQuery
from mmickd.sampling import image_id
from mmickd.schedules import RunTime
from mmickd.structures import Context, Samples
from mmickd.taps import Tapped
from mmickd.tasks import BaseTask, View
from mmickd.tasks.levels import queries
from mmickd.utils.timing import Stopwatch


@dataclass(frozen=True)
class _Pending:
    """A loss that still has to learn over how many queries it is the mean.

    Args:
        name: in the log.
        weight: of the term now.
        loss: of an ``avg_factor``.
        counted: ``(Q,)`` bool; the queries that count.
    """

    name: str
    weight: float
    loss: Callable[..., Tensor]
    counted: Tensor


class Distiller:
    """Teacher forward, queries, retrieval, losses.

    Args:
        teacher: built and probed.
        task: task adapter of the student.
        levels: levels of the in-context terms.
        banks: by level; empty if no term retrieves. Queues are fed with what each step gives.
        search: a retriever's, for these banks.
        terms: the losses.
        anchors: pixels per image (level 'pixel').
        stored: by level, what replaces the queries' features by the bank's own; empty for none.
        exclude_same_id: leave out rows of the query's own image.
        seed: of the choice of pixels.
        device: where the student trains.
        encoder: in the place of the teacher in all that is retrieved, asked and stored; None: the
            teacher itself.
    """

    learnt_key = "teacher"
    """Key that its ``state_dict`` has, and that of another kind of teacher has not."""

    def __init__(
        self,
        teacher: Any,
        task: BaseTask,
        levels: Sequence[str],
        banks: dict[str, Bank | QueueBank],
        search: Callable[..., tuple[Context, Context]],
        terms: LossTerms,
        anchors: int,
        stored: dict[str, StoredQuery],
        exclude_same_id: bool,
        seed: int,
        device: torch.device,
        encoder: Callable[[Tensor], Tapped] | None = None,
    ) -> None:
        self.encoder = encoder
        self.teacher, self.task, self.levels, self.banks = teacher, task, tuple(levels), banks
        self.search, self.terms, self.stored = search, terms, stored
        self.anchors, self.exclude_same_id = anchors, exclude_same_id
        self.stopwatch = Stopwatch(device)
        self._seed = seed
        self._arrived: dict[str, Samples] = {}

    def joined(
        self,
        inputs: Tensor,
        data_samples: Sequence[Any],
        student: Tapped,
        task_losses: dict[str, Any],
        time: RunTime,
    ) -> dict[str, Any]:
        """The task's losses and those of distillation, see :meth:`step`, with the weights of now.

        Args:
            inputs: see :meth:`step`.
            data_samples: see :meth:`step`.
            student: see :meth:`step`.
            task_losses: what the student's forward pass returned.
            time: now.
        """
        weights = self.terms.weights(time)
        if not self.teacher.is_ready:
            weights = dict.fromkeys(weights, 0.0)
        extra = self.step(inputs, data_samples, student, weights, time.iteration)
        return join_losses(task_losses, extra, self.terms.task_weight(time, weights))

    def step(
        self,
        inputs: Tensor,
        data_samples: Sequence[Any],
        student: Tapped,
        weights: dict[str, float],
        iteration: int,
    ) -> dict[str, Tensor]:
        """Weighted losses and diagnostics of a batch.

        Args:
            inputs: ``(B, 3, h, w)``, the student's normalised input.
            data_samples: ``B`` of them.
            student: of its classifier layer; logits ``(B, C[, h, w])``, with gradient.
            weights: by name of the term; a term of weight 0 is not computed.
            iteration: of the run; with the seed it decides which pixels are chosen.

        Returns:
            ``loss_*`` scalars, to be added to the task's, and diagnostics without 'loss' in their
            names.
        """
        student_logits, names = student.logits, self._loss_names()
        out = {name: student_logits.new_zeros((), dtype=torch.float32) for name in names}
        if not any(weights.values()):
            return out
        with torch.autocast(student_logits.device.type, enabled=False):
            shape = (inputs.shape[-2], inputs.shape[-1])
            student_logits = student_logits.float()
            view = self.task.view(self.teacher(inputs), data_samples, shape, student_logits)
            pending = [self._kd(view, weights["kd"])] if weights.get("kd") else []
            if weights.get("picd") or weights.get("nicd"):
                if self.encoder is not None:
                    view = self.task.view(self.encoder(inputs), data_samples, shape, student_logits)
                seed = image_id(f"{self._seed}/{iteration}")
                for level in self.levels:
                    pending += self._in_context(level, view, weights, seed, out)
            factors = average_factors([term.counted for term in pending])
            for term, factor in zip(pending, factors, strict=True):
                out[term.name] = term.weight * term.loss(avg_factor=factor)
        return out

    @property
    def learns(self) -> bool:
        """Whether there is something that a resumed run must find in its checkpoint."""
        return not self.teacher.is_frozen

    @property
    def teacher_layers(self) -> str:
        """Classifier layer of the teacher, for the log."""
        return self.teacher.tap.layer

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """Let the teacher learn from the student's step; what there is to log of it."""
        self.feed()
        self.teacher.update(student, ends_epoch)
        return {}

    def feed(self) -> bool:
        """Append what the ranks have seen in this step to the queues, on every rank the same.

        Returns:
            Whether anything was seen.
        """
        arrived = bool(self._arrived)
        for level, samples in self._arrived.items():
            bank = self.banks.get(level)
            if isinstance(bank, QueueBank):
                bank.push(gather_samples(samples)[0])
        self.forget()
        return arrived

    def forget(self) -> None:
        """Let go of what was seen in this step."""
        self._arrived = {}

    def retrieval_seconds(self) -> float:
        """Time that retrieval took since the last call."""
        return self.stopwatch.collect()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: a teacher that learns, and its queues by level."""
        return {"teacher": self.teacher.state_dict(), "banks": queue_states(self.banks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a run was stopped.

        Raises:
            ICKDError: if the state is of another teacher, or of other queues.
        """
        self.teacher.load_state_dict(state["teacher"])
        load_queue_states(self.banks, state["banks"])

    def _kd(self, view: View, weight: float) -> _Pending:
        assert view.student_logits is not None
        student, teacher, valid = (
            x.flatten(0, 1) for x in (view.student_logits, view.logits, view.valid)
        )
        loss = partial(self.terms.modules["kd"], student, teacher, valid)
        return _Pending("loss_kd", weight, loss, counted_kd(student, valid))

    def _in_context(
        self, level: str, view: View, weights: dict[str, float], seed: int, out: dict[str, Tensor]
    ) -> list[_Pending]:
        """Losses of one level; its diagnostics go into ``out``."""
        samples, student = queries(level, view, self.anchors, seed)
        positives, negatives = self._retrieve(level, samples, weights)
        suffix = self._suffix(level)
        pending = []
        if weights.get("picd"):
            loss = partial(self.terms.modules["picd"], student, positives)
            counted = counted_picd(positives)
            pending.append(_Pending(f"loss_picd{suffix}", weights["picd"], loss, counted))
            out[f"picd_valid{suffix}"] = _share(positives, samples.labels)
            out[f"picd_sim{suffix}"] = _mean_similarity(positives)
        if weights.get("nicd"):
            valid = samples.labels >= 0
            loss = partial(self.terms.modules["nicd"], student, samples.logits, negatives, valid)
            counted = counted_nicd(negatives, valid)
            pending.append(_Pending(f"loss_nicd{suffix}", weights["nicd"], loss, counted))
            out[f"nicd_sim{suffix}"] = _mean_similarity(negatives)
        self._arrived[level] = samples
        return pending

    def _retrieve(
        self, level: str, query: Samples, weights: dict[str, float]
    ) -> tuple[Context, Context]:
        """Context of the terms that count now; of width 0 for the others."""
        if level not in self.banks:
            nothing = _empty_context(query)
            return nothing, nothing
        num_positives = self.terms.num_positives if weights.get("picd") else 0
        num_negatives = self.terms.num_negatives if weights.get("nicd") else 0
        if level in self.stored:
            query = self.stored[level](query)
        with self.stopwatch.timed():
            return self.search(
                self.banks[level], query, num_positives, num_negatives, self.exclude_same_id
            )

    def _suffix(self, level: str) -> str:
        """Two levels at once are told apart in the log."""
        return f"_{level}" if len(self.levels) > 1 else ""

    def _loss_names(self) -> list[str]:
        names = ["loss_kd"] if "kd" in self.terms else []
        for level in self.levels:
            names += [f"loss_{t}{self._suffix(level)}" for t in ("picd", "nicd") if t in self.terms]
        return names


def _empty_context(query: Samples) -> Context:
    shape = (len(query), 0)
    labels, logits = query.labels, query.logits
    return Context(
        similarity=logits.new_zeros(shape),
        logits=logits.new_zeros((*shape, logits.shape[1])),
        mask=labels.new_zeros(shape, dtype=torch.bool),
        indices=labels.new_zeros(shape),
    )


def _share(context: Context, labels: Tensor) -> Tensor:
    """Share of the wanted rows that were found, over the queries that have a label."""
    wanted = (labels >= 0).sum() * context.mask.shape[1]
    return context.mask.sum() / wanted.clamp(min=1)


def _mean_similarity(context: Context) -> Tensor:
    return context.similarity.sum() / context.mask.sum().clamp(min=1)
