"""Data structures that taps, task adapters, banks, retrievers and losses exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

NO_LABEL = -1
"""Label of a row without a class: padding of a fixed-size batch, a mixed image, a void pixel."""

NO_ID = -1
"""Id of a row whose image is unknown; such a row counts as of no query's image."""

LazyTensor = Tensor | Callable[[], Tensor]
"""Tensor, or a function that computes the tensor when it is first read."""


@dataclass(frozen=True, eq=False)
class Tapped:
    """Input and output of a classifier layer in one forward pass.

    Args:
        features: Input of the layer, ``(B, D)`` or ``(B, D, h, w)``.
        logits: Output of the layer, ``(B, C)`` or ``(B, C, h, w)``.

    Example:
        >>> Tapped(torch.zeros(2, 8), torch.zeros(2, 3)).logits.shape
        torch.Size([2, 3])
    """

    features: Tensor
    logits: Tensor

    def detach(self) -> Tapped:
        """Return the same values without gradients."""
        return Tapped(self.features.detach(), self.logits.detach())


@dataclass(frozen=True, eq=False)
class Batch:
    """Training batch as the student gets it.

    Args:
        inputs: ``(B, 3, h, w)``, normalised and augmented.
        data_samples: ``B`` data samples of mmpretrain or mmseg.

    Example:
        >>> Batch(torch.zeros(2, 3, 32, 64), [None, None]).input_shape
        (32, 64)
    """

    inputs: Tensor
    data_samples: Sequence[Any]

    @property
    def input_shape(self) -> tuple[int, int]:
        """``(h, w)`` of the inputs in pixels, padding included."""
        return self.inputs.shape[-2], self.inputs.shape[-1]


@dataclass(frozen=True, eq=False)
class Samples:
    """Queries, or rows of a bank: images, pixels or regions.

    Args:
        features: ``(Q, D)`` floating point; the teacher's features. The task adapter L2-normalises
            them along ``D``, so that a dot product is the cosine similarity.
        logits: ``(Q, C)`` floating point; the teacher's logits.
        labels: ``(Q,)`` int64 in ``[0, C)``; :data:`NO_LABEL` marks a row to be left out.
        ids: ``(Q,)`` int64; the image of each row, :data:`NO_ID` where it is unknown.

    Raises:
        ValueError: If the shapes do not fit each other.

    Example:
        >>> labels = torch.tensor([0, 2])
        >>> rows = Samples(torch.eye(2, 4), torch.zeros(2, 3), labels, ids=torch.tensor([7, 9]))
        >>> len(rows), rows[:1].ids.tolist()
        (2, [7])
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    ids: Tensor

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.logits.ndim != 2:
            raise ValueError(
                "features and logits must be (Q, D) and (Q, C), got "
                f"{tuple(self.features.shape)} and {tuple(self.logits.shape)}"
            )
        rows = {name: getattr(self, name).shape[0] for name in self.names()}
        if self.labels.ndim != 1 or self.ids.ndim != 1 or len(set(rows.values())) != 1:
            raise ValueError(
                f"labels and ids must be (Q,) with one Q for all four, got rows {rows}"
            )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the four tensors, in order."""
        return tuple(f.name for f in fields(cls))

    def __len__(self) -> int:
        return self.features.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Samples:
        """Return the selected rows as new ``Samples``."""
        return Samples(*(getattr(self, name)[rows] for name in self.names()))

    def to(self, device: torch.device | str) -> Samples:
        """Return the same rows on ``device``."""
        return Samples(
            *(getattr(self, name).to(device, non_blocking=True) for name in self.names())
        )

    @staticmethod
    def cat(parts: Sequence[Samples]) -> Samples:
        """Return the rows of all ``parts``, in order.

        Raises:
            ValueError: If ``parts`` is empty.
        """
        if not parts:
            raise ValueError("Samples.cat needs at least one part")
        return Samples(*(torch.cat([getattr(p, n) for p in parts]) for n in Samples.names()))


@dataclass(frozen=True, eq=False)
class View:
    """Outputs of teacher and student for a batch, at ``L`` locations per image.

    A location is an image of a classifier, or a cell of a segmenter's logits grid. The queries that
    a level chooses are a view, too.

    Args:
        features: ``(B, L, D)``; the teacher's features, not normalised.
        logits: ``(B, L, C)``; the teacher's logits.
        labels: ``(B, L)`` int64; :data:`NO_LABEL` where a location has no class (void, padding,
            mixed image).
        valid: ``(B, L)`` bool; True where vanilla KD applies.
        ids: ``(B,)`` int64; ids of the images.
        student_logits: ``(B, L, C)``; None while a bank is built.
        student_features: Function that computes the student's features, ``(B, L, D')``; few losses
            need them.
        places: Function that computes ``(B, L, 2)``: x and y of each location as shares of the
            image's width and height. None if a location is no point of an image.

    Example:
        >>> labels, ids = torch.tensor([[1, -1]]), torch.tensor([7])
        >>> view = View(torch.ones(1, 2, 4), torch.zeros(1, 2, 3), labels, labels >= 0, ids)
        >>> view.num_classes, view.samples().features[0].tolist()
        (3, [0.5, 0.5, 0.5, 0.5])
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    valid: Tensor
    ids: Tensor
    student_logits: Tensor | None = None
    student_features: Callable[[], Tensor] | None = None
    places: Callable[[], Tensor] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes ``C``."""
        return self.logits.shape[2]

    @property
    def location_ids(self) -> Tensor:
        """``(B * L,)`` int64; id of the image of each location."""
        batch, locations = self.labels.shape
        return self.ids.repeat_interleave(locations, output_size=batch * locations)

    def samples(self) -> Samples:
        """Return the teacher's outputs at all ``B * L`` locations, in float32."""
        features = F.normalize(self.features.flatten(0, 1).float(), dim=1)
        logits = self.logits.flatten(0, 1).float()
        return Samples(features, logits, self.labels.flatten(), self.location_ids)


@dataclass(frozen=True, eq=False)
class Context:
    """In-context samples of ``Q`` queries, sorted by falling similarity along ``K``.

    Args:
        similarity: ``(Q, K)`` float32; cosine to the query, 0 where masked.
        logits: ``(Q, K, C)`` float32; the teacher's logits of the rows, 0 where masked.
        mask: ``(Q, K)`` bool; True where a row was found. Valid rows come first.
        indices: ``(Q, K)`` int64; rows of the bank, -1 where masked.

    Example:
        >>> empty = Context.empty(torch.zeros(5, 3))
        >>> empty.mask.shape, bool(empty.has_rows.any())
        (torch.Size([5, 0]), False)
    """

    similarity: Tensor
    logits: Tensor
    mask: Tensor
    indices: Tensor

    @property
    def has_rows(self) -> Tensor:
        """``(Q,)`` bool; True for each query that has a row."""
        return self.mask.any(dim=1)

    def best(self, count: int | None) -> Self:
        """Return the ``count`` rows of each query that the retriever ranks first (None: all)."""
        return type(self)(*(t[:, :count] for t in self._tensors()))

    def top(self, count: int) -> Self:
        """Return the result of :meth:`best` for rows in any order, sorted by falling similarity."""
        return self.gather(self._order(self.similarity)[:, :count])

    def cat(self, other: Self) -> Self:
        """Join two contexts of the same queries from one retriever along ``K``; not sorted."""
        pairs = zip(self._tensors(), other._tensors(), strict=True)
        return type(self)(*(torch.cat(pair, dim=1) for pair in pairs))

    def gather(self, columns: Tensor) -> Self:
        """Return the columns of each query that ``columns`` ``(Q, k)`` int64 selects."""
        return type(self)(*(_gather(t, columns) for t in self._tensors()))

    def _order(self, scores: Tensor) -> Tensor:
        """Return ``(Q, K)`` int64: the columns by falling score, masked ones last."""
        hidden = scores.masked_fill(~self.mask, -torch.inf)
        return hidden.argsort(dim=1, descending=True, stable=True)

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, f.name) for f in fields(self)]

    @staticmethod
    def empty(logits: Tensor) -> Context:
        """Return a context without rows, for queries with these ``(Q, C)`` teacher logits."""
        shape = (logits.shape[0], 0)
        return Context(
            similarity=logits.new_zeros(shape),
            logits=logits.new_zeros((*shape, logits.shape[1])),
            mask=logits.new_zeros(shape, dtype=torch.bool),
            indices=logits.new_zeros(shape, dtype=torch.long),
        )


@dataclass(frozen=True, eq=False)
class DrawnContext(Context):
    """In-context samples that were chosen by other scores than their similarity.

    Args:
        scores: ``(Q, K)`` float32; the retriever ranks the rows by falling score. Arbitrary where
            masked.

    Example:
        >>> pair, mask = torch.tensor([[0.9, 0.1]]), torch.ones(1, 2, dtype=torch.bool)
        >>> context = DrawnContext(pair, torch.zeros(1, 2, 3), mask, mask.long(), pair.flip(1))
        >>> context.best(1).similarity
        tensor([[0.1000]])
    """

    scores: Tensor

    def best(self, count: int | None) -> Self:
        """See :meth:`Context.best`."""
        return self if count is None else self.top(count)

    def top(self, count: int) -> Self:
        """See :meth:`Context.top`."""
        chosen = self.gather(self._order(self.scores)[:, :count])
        return chosen.gather(chosen._order(chosen.similarity))


def _gather(rows: Tensor, columns: Tensor) -> Tensor:
    """Select ``(Q, k, ...)`` of ``(Q, K, ...)``."""
    index = columns.reshape(*columns.shape, *[1] * (rows.ndim - 2))
    return rows.gather(1, index.expand(*columns.shape, *rows.shape[2:]))


@dataclass(eq=False, init=False)
class Queries:
    """Input of a loss: ``Q`` queries with the outputs of both networks and the rows retrieved.

    Args:
        student_logits: ``(Q, C)`` float32; carries the gradient.
        teacher_logits: ``(Q, C)`` float32.
        student_features: ``(Q, D')``; carries the gradient. A function is called when the tensor is
            first read: at every location of a segmenter it copies a whole feature map.
        features: ``(Q, D)`` float32; the teacher's features, L2-normalised; or a function, as
            above.
        labels: ``(Q,)`` int64; :data:`NO_LABEL` where a query has no class. None: no query has one.
        valid: ``(Q,)`` bool; False for padding. None: all True.
        positives: ``(Q, K)``; same-class rows, as many as the loss requests; fewer columns where no
            class of the bank has so many. None: no rows.
        negatives: ``(Q, N)``; rows of other classes, as many as the loss requests or the bank has.
            None: no rows.
        shape: ``(B, L)``: images of the batch and queries per image, ``Q = B * L`` in this order.
            None: ``(Q, 1)``.
        lazy: The two kinds of features as they were passed. :func:`dataclasses.replace` passes
            ``lazy`` to the copy, so that only features that are read are computed.

    Example:
        >>> queries = Queries(torch.zeros(2, 3), torch.zeros(2, 3), features=lambda: torch.eye(2))
        >>> queries.features.sum(), queries.shape
        (tensor(2.), (2, 1))
    """

    student_logits: Tensor
    teacher_logits: Tensor
    labels: Tensor
    valid: Tensor
    positives: Context
    negatives: Context
    shape: tuple[int, int]
    lazy: Mapping[str, LazyTensor]

    def __init__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        student_features: LazyTensor | None = None,
        features: LazyTensor | None = None,
        labels: Tensor | None = None,
        valid: Tensor | None = None,
        positives: Context | None = None,
        negatives: Context | None = None,
        shape: tuple[int, int] | None = None,
        *,
        lazy: Mapping[str, LazyTensor] | None = None,
    ) -> None:
        count, device = len(student_logits), student_logits.device
        if labels is None:
            labels = torch.full((count,), NO_LABEL, device=device)
        if valid is None:
            valid = torch.ones(count, dtype=torch.bool, device=device)
        self.student_logits, self.teacher_logits = student_logits, teacher_logits
        self.labels, self.valid = labels, valid
        self.positives = Context.empty(teacher_logits) if positives is None else positives
        self.negatives = Context.empty(teacher_logits) if negatives is None else negatives
        self.shape = (count, 1) if shape is None else shape
        passed = {"student_features": student_features, "features": features}
        self.lazy = {**(lazy or {}), **{k: v for k, v in passed.items() if v is not None}}

    @cached_property
    def student_features(self) -> Tensor:
        """``(Q, D')``; the student's features, computed when they are first read."""
        return self._computed("student_features")

    @cached_property
    def features(self) -> Tensor:
        """``(Q, D)`` float32; the teacher's features, computed when they are first read."""
        return self._computed("features")

    def _computed(self, name: str) -> Tensor:
        if name not in self.lazy:
            raise ValueError(f"these Queries were created without {name}: pass {name}=...")
        value = self.lazy[name]
        return value() if callable(value) else value
