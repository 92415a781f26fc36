"""One distillation step: from a batch to named losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.sampling import image_id
from mmickd.losses.terms import LossTerms
from mmickd.retrieval import BaseRetriever
from mmickd.retrieval.stored_query import StoredQuery
from mmickd.structures import Context, Samples
from mmickd.tasks import BaseTask, View
from mmickd.tasks.levels import queries
from mmickd.teachers import OfflineTeacher
from mmickd.utils.timing import Stopwatch


class Distiller:
    """Teacher forward, queries, retrieval, losses.

    Args:
        teacher: built and probed.
        task: task adapter of the student.
        levels: levels of the in-context terms.
        banks: by level; empty if no term retrieves.
        retriever: finds the context.
        terms: the losses.
        anchors: pixels per image (level 'pixel').
        query: 'view' or 'bank'.
        exclude_same_id: leave out rows of the query's own image.
        seed: of the choice of pixels.
        rank: of this process; ranks choose different pixels.
        device: where the student trains.
    """

    def __init__(
        self,
        teacher: OfflineTeacher,
        task: BaseTask,
        levels: Sequence[str],
        banks: dict[str, MemoryBank],
        retriever: BaseRetriever,
        terms: LossTerms,
        anchors: int,
        query: str,
        exclude_same_id: bool,
        seed: int,
        rank: int,
        device: torch.device,
    ) -> None:
        self.teacher, self.task, self.levels, self.banks = teacher, task, tuple(levels), banks
        self.retriever, self.terms = retriever, terms
        self.anchors, self.exclude_same_id = anchors, exclude_same_id
        self.stored = {level: StoredQuery(bank) for level, bank in banks.items()}
        if query != "bank":
            self.stored = {}
        self.stopwatch = Stopwatch(device)
        self._key = f"{seed}/{rank}"
        self._generator = torch.Generator(device)

    def step(
        self,
        inputs: Tensor,
        data_samples: Sequence[Any],
        student_logits: Tensor,
        weights: dict[str, float],
        iteration: int,
    ) -> dict[str, Tensor]:
        """Weighted losses and diagnostics of a batch.

        Args:
            inputs: ``(B, 3, h, w)``, the student's normalised input.
            data_samples: ``B`` of them.
            student_logits: ``(B, C[, h, w])``, with gradient.
            weights: by name of the term; a term of weight 0 is not computed.
            iteration: of the run; with the seed it decides which pixels are chosen.

        Returns:
            ``loss_*`` scalars, to be added to the task's, and diagnostics without 'loss' in their
            names.
        """
        names = self._loss_names()
        out = {name: student_logits.new_zeros((), dtype=torch.float32) for name in names}
        if not any(weights.values()):
            return out
        with torch.autocast(student_logits.device.type, enabled=False):
            shape = (inputs.shape[-2], inputs.shape[-1])
            view = self.task.view(self.teacher(inputs), data_samples, shape, student_logits.float())
            if weights.get("kd"):
                out["loss_kd"] = weights["kd"] * self._kd(view)
            if weights.get("picd") or weights.get("nicd"):
                self._generator.manual_seed(image_id(f"{self._key}/{iteration}"))
                for level in self.levels:
                    self._in_context(level, view, weights, out)
        return out

    def _kd(self, view: View) -> Tensor:
        assert view.student_logits is not None
        return self.terms.modules["kd"](
            view.student_logits.flatten(0, 1), view.logits.flatten(0, 1), view.valid.flatten()
        )

    def _in_context(
        self, level: str, view: View, weights: dict[str, float], out: dict[str, Tensor]
    ) -> None:
        """Losses and diagnostics of one level into ``out``."""
        samples, student = queries(level, view, self.anchors, self._generator)
        positives, negatives = self._retrieve(level, samples, weights)
        suffix = self._suffix(level)
        if weights.get("picd"):
            loss = self.terms.modules["picd"](student, positives)
            out[f"loss_picd{suffix}"] = weights["picd"] * loss
            out[f"picd_valid{suffix}"] = _share(positives, samples.labels)
            out[f"picd_sim{suffix}"] = _mean_similarity(positives)
        if weights.get("nicd"):
            loss = self.terms.modules["nicd"](
                student, samples.logits, negatives, samples.labels >= 0
            )
            out[f"loss_nicd{suffix}"] = weights["nicd"] * loss
            out[f"nicd_sim{suffix}"] = _mean_similarity(negatives)

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
            return self.retriever.search(
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
