"""One distilled step: from a batch to the losses of the student, and of whoever learns with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.losses.base import average_factors, masked_sum
from mmickd.losses.schedules import TrainProgress
from mmickd.losses.terms import TASK, LossTerms, Term
from mmickd.networks.nan_guard import NanGuard
from mmickd.retrieval.memory import Memory
from mmickd.sampling import image_id
from mmickd.structures import Batch, Context, Queries, Tapped, View
from mmickd.teachers.base import Source, Teacher
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Stopwatch


class Distiller:
    """Teacher, queries, retrieval, losses.

    Args:
        teacher: opened.
        terms: of the student.
        levels: of the terms that are not dense.
        anchors: queries per image, where a level samples.
        seed: of the choice of queries.
    """

    def __init__(
        self, teacher: Teacher, terms: LossTerms, levels: Sequence[str], anchors: int, seed: int
    ) -> None:
        self.teacher, self.terms, self.levels = teacher, terms, tuple(levels)
        self._anchors, self._seed = anchors, seed
        self.watch = NanGuard()
        self._retrieval_time = Stopwatch()
        self._weights: dict[str, float] = {}

    def step(
        self, batch: Batch, student: Tapped, task_losses: Mapping[str, Any], time: TrainProgress
    ) -> dict[str, Any]:
        """The student's losses; networks of the teacher's own that learn take their step.

        Args:
            batch: as the student gets it.
            student: of its classifier layer, with gradients.
            task_losses: what the student's forward pass returned.
            time: now.

        Returns:
            The task's losses and ``loss_*`` scalars, which mmengine adds up, and diagnostics
            without 'loss' in their names.
        """
        self.watch.begin_step(time.iteration, batch.data_samples)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            sources = self.teacher.forward(batch, student)
            losses = self._losses(batch, student, task_losses, self.terms, sources, time)
            for own in self.teacher.peer_steps():
                lesson = own.outputs, own.task_losses, own.terms, own.sources
                own.learn(self._losses(batch, *lesson, time, f"{own.name}."))
        return losses

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor | float]:
        """Let memories and teacher take up the step; what there is to log of it."""
        for memory in self.teacher.memories.values():
            memory.feed()
        return {**self.teacher.after_step(student, ends_epoch), **self._weights}

    def retrieval_seconds(self) -> float:
        """Time that searching took since the last call."""
        return self._retrieval_time.collect()

    def _losses(
        self,
        batch: Batch,
        learner: Tapped,
        task_losses: Mapping[str, Any],
        terms: LossTerms,
        sources: Sequence[Source],
        time: TrainProgress,
        who: str = "",
    ) -> dict[str, Any]:
        """All losses of one learner: its own, and the mean of what its sources give.

        ``who`` begins its names in the log.
        """
        weights = terms.weights(time)
        if not sources:
            weights = dict.fromkeys(weights, 0.0)
        task_weight = terms.task_weight(time, weights)
        if not who or terms is not self.terms:
            now = {**weights, TASK: task_weight}
            self._weights.update({f"{who}{name}_weight": now[name] for name in terms.changing})
        active = [term for term in terms if weights[term.name]]
        losses = {name: learner.logits.new_zeros(()).float() for name in self._names(terms)}
        given, taught = [], []
        for source in sources if active else ():
            asked = self._asked(batch, learner, active, source, time.iteration)
            given.append(_weighted(asked, weights))
            taught += [one.queries.teacher_logits.sum() for one in asked]
        for name in given[0] if given else ():
            parts = [one[name] for one in given]
            losses[name] = parts[0] if len(parts) == 1 else torch.stack(parts).mean(0)
        if given:
            watched = {name: losses[name] for name in self._names(terms)}
            # A NaN of the teacher's that the mean leaves out is in the gradient all the same.
            watched["teacher_logits"] = torch.stack(taught).sum()
            self.watch.note({f"{who}{name}": value for name, value in watched.items()})
        own = _of_task(task_losses, task_weight)
        if taken := sorted(own.keys() & losses.keys()):
            raise ICKDError(
                f"the model has a '{taken[0]}' of its own: give the term of {terms.where} that is "
                "logged so another name."
            )
        return {**own, **losses}

    def _names(self, terms: LossTerms) -> dict[str, Term]:
        """The terms by the names of their losses in the log, whether they count now or not."""
        dense = {f"loss_{term.name}": term for term in terms if term.loss.is_dense}
        others = [term for term in terms if not term.loss.is_dense]
        return {
            **dense,
            **{f"loss_{t.name}{self._suffix(at)}": t for at in self.levels for t in others},
        }

    @property
    def logged_terms(self) -> dict[str, Term]:
        """The student's terms by the names of their losses in the log, one for each level."""
        return self._names(self.terms)

    @property
    def similarities(self) -> list[tuple[str, str]]:
        """Names in the log of the similarity of positives, and of negatives of the same level.

        Of terms that want a whole class, or no negatives, there is nothing to compare.
        """
        own, others = [], []
        for term in self.terms.retrieving:
            if term.loss.num_positives:
                own.append(f"{term.name}_sim")
            if term.loss.num_negatives:
                has_positives = term.loss.num_positives != 0
                others.append(f"{term.name}_{'neg_' if has_positives else ''}sim")
        return [
            (f"{one}{self._suffix(at)}", f"{other}{self._suffix(at)}")
            for at in self.levels
            for one in own
            for other in others
        ]

    def _suffix(self, level: str) -> str:
        """Two levels at once are told apart in the log."""
        return f"_{level}" if len(self.levels) > 1 else ""

    def _asked(
        self, batch: Batch, learner: Tapped, active: Sequence[Term], source: Source, iteration: int
    ) -> list[_LossInput]:
        """The questions to the terms that count now, about one source."""
        dense = [term for term in active if term.loss.is_dense]
        others = [term for term in active if not term.loss.is_dense]
        asked: list[_LossInput] = []
        if dense or source.memory_outputs is None:
            view = source.task.view(source.outputs(), batch, learner)
        if dense:
            everywhere = _everywhere(view)
            asked += [_LossInput(term, everywhere) for term in dense]
        if others and source.memory_outputs is not None:
            view = source.task.view(source.memory_outputs(), batch, learner)
        for level in self.levels if others else ():
            seed = image_id(f"{self._seed}/{iteration}")
            chosen = source.task.levels[level].queries(view, self._anchors, seed)
            queries = _with_context(chosen, level, others, source.memory, self._retrieval_time)
            suffix = self._suffix(level)
            asked += [_LossInput(t, q, suffix) for t, q in zip(others, queries, strict=True)]
        return asked


@dataclass(frozen=True)
class _LossInput:
    """A term, what it is asked, and what its names in the log end in."""

    term: Term
    queries: Queries
    suffix: str = ""


def _everywhere(view: View) -> Queries:
    """Every location of a batch, without context."""
    assert view.student_logits is not None
    nothing = Context.empty(view.logits.flatten(0, 1).float())
    return Queries(
        student_logits=view.student_logits.flatten(0, 1),
        teacher_logits=view.logits.flatten(0, 1).float(),
        student_features=_student_features(view),
        features=lambda: view.samples().features,
        labels=view.labels.flatten(),
        valid=view.valid.flatten(),
        positives=nothing,
        negatives=nothing,
        shape=(view.labels.shape[0], view.labels.shape[1]),
    )


def _with_context(
    view: View, level: str, terms: Sequence[Term], memory: Memory, stopwatch: Stopwatch
) -> list[Queries]:
    """The queries of a level, for each term with as many rows as it wants; searched for once."""
    assert view.student_logits is not None
    samples, losses = view.samples(), [term.loss for term in terms]
    wanted = [loss.num_positives for loss in losses]
    num_positives = None if None in wanted else max(n for n in wanted if n is not None)
    num_negatives = max(loss.num_negatives for loss in losses)
    with stopwatch.timed(samples.features.device):
        positives, negatives = memory.query(level, samples, num_positives, num_negatives)
    memory.stage(level, samples)
    return [
        Queries(
            student_logits=view.student_logits.flatten(0, 1),
            teacher_logits=samples.logits,
            student_features=_student_features(view),
            features=samples.features,
            labels=samples.labels,
            valid=samples.labels >= 0,
            positives=positives.best(loss.num_positives),
            negatives=negatives.best(loss.num_negatives),
            shape=(view.labels.shape[0], view.labels.shape[1]),
        )
        for loss in losses
    ]


def _student_features(view: View) -> Any:
    """For those who ask: ``(B * L, D')``."""
    features = view.student_features
    assert features is not None
    return lambda: features().flatten(0, 1)


def _weighted(asked: Sequence[_LossInput], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted means over the queries of all ranks, and diagnostics, by their names in the log."""
    counted = [one.term.loss.counted(one.queries) for one in asked]
    found: dict[str, Tensor] = {}
    for one, mask, factor in zip(asked, counted, average_factors(counted), strict=True):
        name, values = one.term.name, one.term.loss(one.queries)
        if values.shape != mask.shape:
            raise ICKDError(
                f"losses.{name}: {type(one.term.loss).__name__} gives {tuple(values.shape)} for "
                f"{len(mask)} queries: forward must return one number per query."
            )
        found[f"loss_{name}{one.suffix}"] = weights[name] * (masked_sum(values, mask) / factor)
        for key, value in one.term.loss.diagnostics(one.queries).items():
            found[f"{name}_{key}{one.suffix}"] = value
    return found


def _of_task(losses: Mapping[str, Any], weight: float) -> dict[str, Any]:
    """A network's own losses with their weight, those of auxiliary heads too.

    mmpretrain calls its loss ``loss``, the name under which mmengine logs the total: it would hide
    the total in the log, so it becomes ``loss_ce``.

    Args:
        losses: a tensor, or a list of them, by name; mmengine adds up those with 'loss' in their
            name, others are for the log.
        weight: of those that are added up.
    """
    named = {("loss_ce" if name == "loss" else name): value for name, value in losses.items()}
    if weight == 1.0:  # not even a product: weight 0 of all terms is the run without the hook
        return named
    return {name: _scaled(v, weight) if "loss" in name else v for name, v in named.items()}


def _scaled(value: Any, weight: float) -> Any:
    return [weight * v for v in value] if isinstance(value, (list, tuple)) else weight * value
