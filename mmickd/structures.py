"""The currency of mmickd: what the task adapters, banks, retrievers and losses hand each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

NO_LABEL = -1
"""Label of a row that is no query: padding of a fixed-size batch, a mixed image, a void pixel."""

NO_ID = -1
"""Id of a row whose image is not known: it excludes nothing and is excluded from nothing."""


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
class Context:
    """In-context samples of ``Q`` queries, sorted by falling similarity along ``K``.

    Args:
        similarity: ``(Q, K)`` float32; cosine to the query, 0 where masked.
        logits: ``(Q, K, C)`` float32; the teacher's logits of the rows, 0 where masked.
        mask: ``(Q, K)`` bool; True where a row was found. The valid ones come first.
        indices: ``(Q, K)`` int64; rows of the bank, -1 where masked.
    """

    similarity: Tensor
    logits: Tensor
    mask: Tensor
    indices: Tensor
