"""What a bank's rows say of its teacher and of the retrieval to come, in bounded time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmickd.banks.exclusion import has_class_neighbour, same_image
from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import Samples

ASKED = 512
"""Rows that are asked for their neighbours."""
COMPARED = 2**16
"""Most rows that are looked at; of a larger bank, evenly spaced ones."""
BLOCK = 4096
"""Rows that are widened to float32 at once."""
NEIGHBOURS = 5
"""Rows that vote on the class of one that is asked."""
VOTE_TEMPERATURE = 0.1
"""A vote weighs ``exp(similarity / temperature)``."""


@dataclass(frozen=True)
class BankReport:
    """Figures of a bank; shares are in [0, 1].

    Args:
        smallest: rows of the smallest class that has any.
        median: rows of the median class that has any.
        missing: classes without rows.
        present: classes with rows.
        agreement: share of rows on which the teacher's argmax is the label.
        class_agreement: mean of that over the classes with rows; a teacher that always says the
            same has 1 / ``present``, however the classes are balanced.
        asked: number of rows that were judged by their neighbours; their class has a row in another
            image.
        knn_accuracy: share of the judged rows whose class their neighbours predict; None if no row
            could be judged.
        complete: share of evenly spaced rows that find all positives; None if none are wanted.
    """

    smallest: int
    median: int
    missing: int
    present: int
    agreement: float
    class_agreement: float
    asked: int
    knn_accuracy: float | None
    complete: float | None


def report_of(bank: MemoryBank, num_positives: int | None, exclude_same_id: bool) -> BankReport:
    """The figures of a bank that has rows.

    Args:
        bank: whole, on the CPU.
        num_positives: rows of the own class that are wanted; None or 0: no number of them.
        exclude_same_id: whether a query's own image is left out.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> logits = 9.0 * torch.eye(2)[labels]
        >>> bank = MemoryBank(Samples(logits / 9, logits, labels, torch.arange(4)), num_classes=2)
        >>> found = report_of(bank, num_positives=1, exclude_same_id=True)
        >>> found.agreement, found.knn_accuracy, found.complete, found.median
        (1.0, 1.0, 1.0, 2)
    """
    sizes = bank.offsets.diff()
    present = sizes[sizes > 0]
    compared = spaced(len(bank), COMPARED)
    queries = compared[spaced(len(compared), ASKED)]
    right = torch.cat([_right(bank.samples[rows]) for rows in compared.split(BLOCK)])
    judged = queries[has_class_neighbour(bank, queries, compared, exclude_same_id)]
    is_named = (
        votes_of_others(bank, judged, compared, exclude_same_id).argmax(1) == bank.labels[judged]
    )
    return BankReport(
        smallest=int(present.min()),
        median=int(present.median()),
        missing=bank.num_classes - len(present),
        present=len(present),
        agreement=float(right.mean()),
        class_agreement=mean_over_classes(right, bank.labels[compared]),
        asked=len(judged),
        knn_accuracy=float(is_named.double().mean()) if len(judged) else None,
        complete=(
            _complete(bank, queries, num_positives, exclude_same_id) if num_positives else None
        ),
    )


def spaced(length: int, most: int) -> Tensor:
    """At most ``most`` numbers below ``length``, rising and evenly spaced.

    Example:
        >>> spaced(10, 4).tolist(), spaced(2, 4).tolist()
        ([0, 2, 5, 7], [0, 1])
    """
    return torch.arange(length) if length <= most else torch.arange(most) * length // most


def _right(rows: Samples) -> Tensor:
    return (rows.logits.argmax(dim=1) == rows.labels).double()


def mean_over_classes(values: Tensor, labels: Tensor) -> float:
    """Mean over the classes of the mean of ``(R,)`` values, by ``(R,)`` int64 labels.

    Example:
        >>> mean_over_classes(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([4, 4, 4, 7]))
        0.5
    """
    _, own, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=values.dtype).index_add_(0, own, values)
    return float((sums / counts).mean())


def votes_of_others(
    bank: MemoryBank, asked: Tensor, compared: Tensor, exclude_same_id: bool
) -> Tensor:
    """The classes that the nearest rows vote for, without the row itself (or its image).

    Args:
        bank: whole, on the CPU.
        asked: ``(Q,)`` int64, rows of it.
        compared: ``(M',)`` int64, rows of it that may vote.
        exclude_same_id: whether a row's own image is left out.

    Returns:
        ``(Q, C)`` float32, each row's votes; 0 where no other row is there.
    """
    query, ids = bank.features[asked].float(), bank.ids[asked]
    scores = torch.full((len(asked), NEIGHBOURS), -torch.inf)
    labels = torch.zeros_like(scores, dtype=torch.long)
    for rows in compared.split(BLOCK):
        similarity = query @ bank.features[rows].float().T
        similarity.masked_fill_(asked[:, None] == rows, -torch.inf)
        if exclude_same_id:
            similarity.masked_fill_(same_image(bank.ids[rows], ids), -torch.inf)
        known = torch.cat([labels, bank.labels[rows].expand_as(similarity)], dim=1)
        scores, places = torch.cat([scores, similarity], dim=1).topk(NEIGHBOURS, dim=1)
        labels = known.gather(1, places)
    weights = (scores / VOTE_TEMPERATURE).exp()  # of a place without a row: 0
    return weights.new_zeros((len(asked), bank.num_classes)).scatter_add_(1, labels, weights)


def _complete(bank: MemoryBank, asked: Tensor, num_positives: int, exclude_same_id: bool) -> float:
    """Share of the rows whose class has enough others."""
    enough = 0
    for row in asked.tolist():
        own = slice(*bank.offsets[bank.labels[row] :][:2].tolist())
        others = torch.ones_like(bank.ids[own], dtype=torch.bool)
        if exclude_same_id:
            others = ~same_image(bank.ids[own], bank.ids[row][None])[0]
        enough += int(others.sum()) >= num_positives
    return enough / len(asked)
