"""Distilled training step: from a batch to the losses of the student and of the peers."""

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
    """Distilled training step: run the teacher, choose queries, retrieve rows, compute losses.

    Args:
        teacher: Opened teacher.
        terms: Terms of the student.
        levels: Levels of the terms that are not dense.
        anchors: Maximum number of queries per image, where a level samples.
        seed: Seed of the choice of queries.
    """

    def __init__(
        self, teacher: Teacher, terms: LossTerms, levels: Sequence[str], anchors: int, seed: int
    ) -> None:
        self.teacher, self.terms, self.levels = teacher, terms, tuple(levels)
        self._anchors, self._seed = anchors, seed
        self.nan_guard = NanGuard()
        self._retrieval_time = Stopwatch()
        self._weights: dict[str, float] = {}

    def step(
        self, batch: Batch, student: Tapped, task_losses: Mapping[str, Any], progress: TrainProgress
    ) -> dict[str, Any]:
        """Return the losses of the student; peers make a step of their optimizers.

        Args:
            batch: Batch as the student gets it.
            student: Input and output of the student's classifier layer, with gradients.
            task_losses: Losses that the student's forward pass returned.
            progress: Position of the step in the run.

        Returns:
            The task's losses and ``loss_*`` scalars, which mmengine adds up, and diagnostics
            without 'loss' in their names.
        """
        self.nan_guard.begin_step(progress.iteration, batch.data_samples)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            sources = self.sources(batch, student)
            losses = self._losses(batch, student, task_losses, self.terms, sources, progress)
            for peer in self.teacher.peer_steps():
                inputs = peer.outputs, peer.task_losses, peer.terms, peer.sources
                peer.learn(self._losses(batch, *inputs, progress, f"{peer.name}."))
        return losses

    def sources(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """Return the sources that the student distils from in this step."""
        return self.teacher.forward(batch, student)

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor | float]:
        """Update memories and teacher after the optimizer's step; return scalars for the log."""
        for memory in self.teacher.memories.values():
            memory.feed()
        return {**self.teacher.after_step(student, ends_epoch), **self._weights}

    def retrieval_seconds(self) -> float:
        """Return the time of the searches since the last call, in seconds."""
        return self._retrieval_time.collect()

    def _losses(
        self,
        batch: Batch,
        learner: Tapped,
        task_losses: Mapping[str, Any],
        terms: LossTerms,
        sources: Sequence[Source],
        progress: TrainProgress,
        prefix: str = "",
    ) -> dict[str, Any]:
        """Return all losses of the student or of a peer: task losses, and means over the sources.

        ``prefix`` is put before the names of a peer's weights in the log and losses in messages.
        """
        weights = terms.weights(progress)
        if not sources:
            weights = dict.fromkeys(weights, 0.0)
        task_weight = terms.task_weight(progress, weights)
        if not prefix or terms is not self.terms:
            logged = {**weights, TASK: task_weight}
            self._weights.update(
                {f"{prefix}{name}_weight": logged[name] for name in terms.changing}
            )
        active = [term for term in terms if weights[term.name]]
        losses = {name: learner.logits.new_zeros(()).float() for name in self._names(terms)}
        by_source, teacher_sums = [], []
        for source in sources if active else ():
            inputs = self._loss_inputs(batch, learner, active, source, progress.iteration)
            by_source.append(_weighted(inputs, weights))
            teacher_sums += [loss_input.queries.teacher_logits.sum() for loss_input in inputs]
        for name in by_source[0] if by_source else ():
            values = [scalars[name] for scalars in by_source]
            losses[name] = values[0] if len(values) == 1 else torch.stack(values).mean(0)
        if by_source:
            guarded = {name: losses[name] for name in self._names(terms)}
            # A teacher's NaN in a query that does not count is in the gradient, not in the mean.
            guarded["teacher_logits"] = torch.stack(teacher_sums).sum()
            self.nan_guard.note({f"{prefix}{name}": value for name, value in guarded.items()})
        task_losses = _weighted_task_losses(task_losses, task_weight)
        if clashes := sorted(task_losses.keys() & losses.keys()):
            raise ICKDError(
                f"the model already has a loss '{clashes[0]}': rename the term of {terms.where} "
                "that is logged by this name."
            )
        return {**task_losses, **losses}

    def _names(self, terms: LossTerms) -> dict[str, Term]:
        """Return the terms by the names of their losses in the log, including terms of weight 0."""
        dense = {f"loss_{term.name}": term for term in terms if term.loss.is_dense}
        sparse = {
            f"loss_{term.name}{self._suffix(level)}": term
            for level in self.levels
            for term in terms
            if not term.loss.is_dense
        }
        return {**dense, **sparse}

    @property
    def logged_terms(self) -> dict[str, Term]:
        """The student's terms by the names of their losses in the log, one name for each level."""
        return self._names(self.terms)

    @property
    def similarities(self) -> list[tuple[str, str]]:
        """Names in the log of the similarities of positives and negatives of the same level.

        A term without positives or negatives, or with whole classes as positives, adds no name.
        """
        positives, negatives = [], []
        for term in self.terms.retrieving:
            if term.loss.num_positives:
                positives.append(f"{term.name}_sim")
            if term.loss.num_negatives:
                has_positives = term.loss.num_positives != 0
                negatives.append(f"{term.name}_{'neg_' if has_positives else ''}sim")
        return [
            (f"{positive}{self._suffix(level)}", f"{negative}{self._suffix(level)}")
            for level in self.levels
            for positive in positives
            for negative in negatives
        ]

    def _suffix(self, level: str) -> str:
        """Return the ending of a level's names in the log, empty if there is one level."""
        return f"_{level}" if len(self.levels) > 1 else ""

    def _loss_inputs(
        self, batch: Batch, learner: Tapped, active: Sequence[Term], source: Source, iteration: int
    ) -> list[_LossInput]:
        """Return the inputs of the active terms' losses for one source."""
        dense = [term for term in active if term.loss.is_dense]
        sparse = [term for term in active if not term.loss.is_dense]
        inputs: list[_LossInput] = []
        if dense or source.memory_outputs is None:
            view = source.task.view(source.outputs(), batch, learner)
        if dense:
            everywhere = _everywhere(view)
            inputs += [_LossInput(term, everywhere) for term in dense]
        if sparse and source.memory_outputs is not None:
            view = source.task.view(source.memory_outputs(), batch, learner)
        for level in self.levels if sparse else ():
            seed = image_id(f"{self._seed}/{iteration}")
            chosen = source.task.levels[level].queries(view, self._anchors, seed)
            queries = self._with_context(chosen, level, sparse, source.memory)
            suffix = self._suffix(level)
            inputs += [_LossInput(t, q, suffix) for t, q in zip(sparse, queries, strict=True)]
        return inputs

    def _with_context(
        self, view: View, level: str, terms: Sequence[Term], memory: Memory
    ) -> list[Queries]:
        """Return the queries of a level with as many rows as each term requests, by one search."""
        samples, losses = view.samples(), [term.loss for term in terms]
        counts = [loss.num_positives for loss in losses]
        num_positives = None if None in counts else max(n for n in counts if n is not None)
        num_negatives = max(loss.num_negatives for loss in losses)
        positives = negatives = Context.empty(samples.logits)
        if any(loss.retrieves for loss in losses):
            with self._retrieval_time.timed(samples.features.device):
                positives, negatives = memory.query(level, samples, num_positives, num_negatives)
        memory.stage(level, samples)
        return [
            Queries(
                **_student_arguments(view),
                teacher_logits=samples.logits,
                features=samples.features,
                labels=samples.labels,
                valid=samples.labels >= 0,
                positives=positives.best(loss.num_positives),
                negatives=negatives.best(loss.num_negatives),
            )
            for loss in losses
        ]


@dataclass(frozen=True)
class _LossInput:
    """Term, the queries for its loss, and the ending of its names in the log."""

    term: Term
    queries: Queries
    suffix: str = ""


def _everywhere(view: View) -> Queries:
    """Return all locations of a batch as queries, without context."""
    return Queries(
        **_student_arguments(view),
        teacher_logits=view.logits.flatten(0, 1).float(),
        features=lambda: view.samples().features,
        labels=view.labels.flatten(),
        valid=view.valid.flatten(),
    )


def _student_arguments(view: View) -> dict[str, Any]:
    """Return the student's arguments of :class:`Queries`, and the shape."""
    logits, features = view.student_logits, view.student_features
    assert logits is not None and features is not None
    return dict(
        student_logits=logits.flatten(0, 1),
        student_features=lambda: features().flatten(0, 1),
        shape=(view.labels.shape[0], view.labels.shape[1]),
    )


def _weighted(inputs: Sequence[_LossInput], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return weighted means over the queries of all ranks, and diagnostics, by name in the log."""
    counted = [loss_input.term.loss.counted(loss_input.queries) for loss_input in inputs]
    scalars: dict[str, Tensor] = {}
    for loss_input, mask, factor in zip(inputs, counted, average_factors(counted), strict=True):
        name, loss, suffix = loss_input.term.name, loss_input.term.loss, loss_input.suffix
        values = loss(loss_input.queries)
        if values.shape != mask.shape:
            raise ICKDError(
                f"losses.{name}: {type(loss).__name__} returns {tuple(values.shape)} for "
                f"{len(mask)} queries: forward must return one number per query."
            )
        scalars[f"loss_{name}{suffix}"] = weights[name] * (masked_sum(values, mask) / factor)
        for key, value in loss.diagnostics(loss_input.queries).items():
            scalars[f"{name}_{key}{suffix}"] = value
    return scalars


def _weighted_task_losses(losses: Mapping[str, Any], weight: float) -> dict[str, Any]:
    """Return a network's task losses times their weight; losses of auxiliary heads are included.

    mmpretrain names its loss ``loss``, and mmengine names the total loss ``loss``. So that the
    total is logged, mmpretrain's loss is renamed to ``loss_ce``.

    Args:
        losses: Tensors, or lists of them, by name; mmengine adds up the values with 'loss' in
            their names, and only logs the other values.
        weight: Weight of the losses that are added up.
    """
    named = {("loss_ce" if name == "loss" else name): value for name, value in losses.items()}
    if (
        weight == 1.0
    ):  # no product, so that a run with weight 0 of all terms equals a run without the hook
        return named
    return {name: _scaled(v, weight) if "loss" in name else v for name, v in named.items()}


def _scaled(value: Any, weight: float) -> Any:
    return [weight * v for v in value] if isinstance(value, (list, tuple)) else weight * value
