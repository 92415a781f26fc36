"""The currencies: what taps, task adapters, banks, retrievers and losses hand each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

NO_LABEL = -1
"""Label of a row that is no query: padding of a fixed-size batch, a mixed image, a void pixel."""

NO_ID = -1
"""Id of a row whose image is not known: it excludes nothing and is excluded from nothing."""


@dataclass(frozen=True, eq=False)
class Tapped:
    """Input and output of a classifier layer in one forward pass.

    Args:
        features: ``(B, D)`` or ``(B, D, h, w)``.
        logits: ``(B, C)`` or ``(B, C, h, w)``.

    Example:
        >>> Tapped(torch.zeros(2, 8), torch.zeros(2, 3)).logits.shape
        torch.Size([2, 3])
    """

    features: Tensor
    logits: Tensor

    def detach(self) -> Tapped:
        """The same values without gradients."""
        return Tapped(self.features.detach(), self.logits.detach())


@dataclass(frozen=True, eq=False)
class Batch:
    """A training batch as the student gets it.

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
        """``(h, w)`` in pixels, padding included."""
        return self.inputs.shape[-2], self.inputs.shape[-1]


@dataclass(frozen=True, eq=False)
class Samples:
    """Queries, or rows of a bank: images, pixels or regions.

    Args:
        features: ``(Q, D)`` floating point; the teacher's features, L2-normalised along ``D`` by
            the task adapter, so that a dot product is the cosine similarity.
        logits: ``(Q, C)`` floating point; the teacher's logits.
        labels: ``(Q,)`` int64 in ``[0, C)``; :data:`NO_LABEL` marks a row to be left out.
        ids: ``(Q,)`` int64; the image that each row comes from, :data:`NO_ID` where unknown.

    Raises:
        ValueError: if the shapes do not fit each other.

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
        """Names of the four tensors, in order."""
        return tuple(f.name for f in fields(cls))

    def __len__(self) -> int:
        return self.features.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Samples:
        """The given rows, as new ``Samples``."""
        return Samples(*(getattr(self, name)[rows] for name in self.names()))

    def to(self, device: torch.device | str) -> Samples:
        """The same rows on ``device``."""
        return Samples(
            *(getattr(self, name).to(device, non_blocking=True) for name in self.names())
        )

    @staticmethod
    def cat(parts: Sequence[Samples]) -> Samples:
        """Rows of all ``parts``, in order.

        Raises:
            ValueError: if ``parts`` is empty.
        """
        if not parts:
            raise ValueError("Samples.cat needs at least one part")
        return Samples(*(torch.cat([getattr(p, n) for p in parts]) for n in Samples.names()))


@dataclass(frozen=True, eq=False)
class View:
    """A batch as teacher (and student) see it at ``L`` locations per image.

    An image of a classifier is one location; a cell of a segmenter's logits grid is one. What a
    level chooses among the locations is a view again.

    Args:
        features: ``(B, L, D)``; the teacher's features, not normalised.
        logits: ``(B, L, C)``; the teacher's.
        labels: ``(B, L)`` int64; :data:`NO_LABEL` where a location has no class (void, padding,
            mixed image).
        valid: ``(B, L)`` bool; where vanilla KD applies.
        ids: ``(B,)`` int64; the images.
        student_logits: ``(B, L, C)``; None while a bank is built.
        student_features: makes the student's ``(B, L, D')``, which few losses ask for.
        places: makes ``(B, L, 2)``: x and y of each location as shares of the image's width and
            height; None where a location is no point of an image.

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
        """``C``."""
        return self.logits.shape[2]

    @property
    def location_ids(self) -> Tensor:
        """``(B * L,)``; the image of each location."""
        batch, locations = self.labels.shape
        return self.ids.repeat_interleave(locations, output_size=batch * locations)

    def samples(self) -> Samples:
        """All ``B * L`` locations as the teacher sees them, in float32."""
        features = F.normalize(self.features.flatten(0, 1).float(), dim=1)
        logits = self.logits.flatten(0, 1).float()
        return Samples(features, logits, self.labels.flatten(), self.location_ids)


@dataclass(frozen=True, eq=False)
class Context:
    """In-context samples of ``Q`` queries, sorted by falling similarity along ``K``.

    Args:
        similarity: ``(Q, K)`` float32; cosine to the query, 0 where masked.
        logits: ``(Q, K, C)`` float32; the teacher's logits of the rows, 0 where masked.
        mask: ``(Q, K)`` bool; True where a row was found. The valid ones come first.
        indices: ``(Q, K)`` int64; rows of the bank, -1 where masked.

    Example:
        >>> nothing = Context.empty(torch.zeros(5, 3))
        >>> nothing.mask.shape, bool(nothing.found.any())
        (torch.Size([5, 0]), False)
    """

    similarity: Tensor
    logits: Tensor
    mask: Tensor
    indices: Tensor

    @property
    def found(self) -> Tensor:
        """``(Q,)`` bool; the queries that have a row at all."""
        return self.mask.any(dim=1)

    def columns(self, begin: int = 0, end: int | None = None) -> Self:
        """Rows ``begin`` to ``end`` of each query, counted from the most similar one."""
        return type(self)(*(t[:, begin:end] for t in self._tensors()))

    def best(self, count: int | None) -> Self:
        """Return the ``count`` rows of each query that the retriever ranks first (None: all)."""
        return self.columns(0, count)

    def top(self, count: int) -> Self:
        """Return what :meth:`best` does, of rows in any order; sorted by falling similarity."""
        return self.gather(self._order(self.similarity)[:, :count])

    def cat(self, other: Self) -> Self:
        """Rows that one retriever found for the same queries, side by side; not sorted."""
        pairs = zip(self._tensors(), other._tensors(), strict=True)
        return type(self)(*(torch.cat(pair, dim=1) for pair in pairs))

    def gather(self, columns: Tensor) -> Self:
        """Some columns of each query, ``(Q, k)`` int64."""
        return type(self)(*(_gather(t, columns) for t in self._tensors()))

    def _order(self, scores: Tensor) -> Tensor:
        """``(Q, K)`` int64; columns by falling score, masked ones last."""
        hidden = scores.masked_fill(~self.mask, -torch.inf)
        return hidden.argsort(dim=1, descending=True, stable=True)

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, f.name) for f in fields(self)]

    @staticmethod
    def empty(logits: Tensor) -> Context:
        """A context without any row.

        Args:
            logits: ``(Q, C)``; the teacher's logits of the queries.
        """
        shape = (logits.shape[0], 0)
        return Context(
            similarity=logits.new_zeros(shape),
            logits=logits.new_zeros((*shape, logits.shape[1])),
            mask=logits.new_zeros(shape, dtype=torch.bool),
            indices=logits.new_zeros(shape, dtype=torch.long),
        )


@dataclass(frozen=True, eq=False)
class DrawnContext(Context):
    """In-context samples that were not chosen by their similarity.

    Args:
        scores: ``(Q, K)`` float32; the retriever ranks rows by them, the largest first. Any number
            where masked.

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
    """``(Q, k, ...)`` of ``(Q, K, ...)``."""
    index = columns.reshape(*columns.shape, *[1] * (rows.ndim - 2))
    return rows.gather(1, index.expand(*columns.shape, *rows.shape[2:]))


@dataclass(eq=False)
class Queries:
    """The question to a loss: ``Q`` queries, with what student, teacher and memory say of them.

    Args:
        student_logits: ``(Q, C)`` float32; carries the gradient.
        teacher_logits: ``(Q, C)`` float32.
        student_features: ``(Q, D')``; carries the gradient. A function is called when a loss first
            asks: at every location of a segmenter this is a copy of a whole feature map.
        features: ``(Q, D)`` float32; the teacher's, L2-normalised. Or a function, as above.
        labels: ``(Q,)`` int64; :data:`NO_LABEL` where a query has no class.
        valid: ``(Q,) bool``; False for padding.
        positives: ``(Q, K)``; same-class rows, as many as the loss wants; fewer columns where no
            class of the bank has so many.
        negatives: ``(Q, N)``; rows of other classes, as many as the loss wants, or as the bank has.
        shape: ``(B, L)``: images of the batch and queries of each, ``Q = B * L`` in this order;
            None: ``(Q, 1)``.

    Example:
        >>> zeros, labels = torch.zeros(2, 3), torch.tensor([0, 1])
        >>> none = Context.empty(zeros)
        >>> asked = Queries(zeros, zeros, zeros, lambda: zeros + 1, labels, labels >= 0, none, none)
        >>> asked.features.sum(), asked.shape
        (tensor(6.), (2, 1))
    """

    student_logits: Tensor
    teacher_logits: Tensor
    student_features: Tensor | Any
    features: Tensor | Any
    labels: Tensor
    valid: Tensor
    positives: Context
    negatives: Context
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        own = vars(self)
        self.shape = self.shape or (len(self.labels), 1)
        self._later: dict[str, Callable[[], Tensor]] = {
            name: own.pop(name) for name in ("student_features", "features") if callable(own[name])
        }

    def with_teacher_logits(self, teacher_logits: Tensor) -> Queries:
        """Return the same queries with other teacher logits, ``(Q, C)``.

        Features given as functions are not computed, as :func:`dataclasses.replace` would do.
        """
        changed = copy(self)
        changed.teacher_logits, changed._later = teacher_logits, dict(self._later)
        return changed

    def __getattr__(self, name: str) -> Tensor:  # for what is not there yet
        later = vars(self).get("_later", {})
        if name not in later:
            raise AttributeError(f"Queries have no {name}")
        setattr(self, name, later.pop(name)())
        return getattr(self, name)
