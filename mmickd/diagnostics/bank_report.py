"""Figures of a bank: its sizes, its teacher and its neighbours, in bounded time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmickd.banks.exclusion import has_class_neighbour, same_image
from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import Samples

MAX_QUERIES = 512
"""Maximum number of rows whose neighbours are searched for."""
MAX_CANDIDATES = 2**16
"""Maximum number of rows that can be neighbours; a larger bank is sampled evenly."""
BLOCK_ROWS = 4096
"""Number of rows that are converted to float32 together."""
NEIGHBOURS = 5
"""Number of nearest rows that predict the class of a query."""
NEIGHBOUR_TEMPERATURE = 0.1
"""Temperature of the weight of a neighbour, ``exp(similarity / temperature)``."""


@dataclass(frozen=True)
class BankReport:
    """Figures of a bank; shares are in [0, 1].

    Args:
        smallest: Number of rows of the smallest class with rows.
        median: Number of rows of the median class with rows.
        missing: Number of classes without rows.
        present: Number of classes with rows.
        agreement: Share of rows on which the teacher's argmax is the label.
        class_agreement: Mean of that share over the classes with rows; 1 / ``present`` for a
            teacher that predicts one class only, for any balance of the classes.
        num_queries: Number of rows with neighbour predictions; the class of such a row has a row in
            another image.
        knn_accuracy: Accuracy of the neighbour predictions; None without such rows.
        complete: Share of evenly spaced rows that find all positives; None if no term retrieves a
            fixed number of positives.
    """

    smallest: int
    median: int
    missing: int
    present: int
    agreement: float
    class_agreement: float
    num_queries: int
    knn_accuracy: float | None
    complete: float | None

    def __str__(self) -> str:
        classes = self.present + self.missing
        without = f" ({self.missing} of {classes} classes without)" if self.missing else ""
        neighbours = "no row has another row of its class in another image"
        if self.knn_accuracy is not None:
            neighbours = (
                f"the {NEIGHBOURS} nearest rows predict the class of {self.knn_accuracy:.1%} of "
                f"{self.num_queries} rows"
            )
        complete = "" if self.complete is None else f"; {self.complete:.1%} find all positives"
        return (
            f"rows of a class: median {self.median}, least {self.smallest}{without}; the teacher's "
            f"argmax is the label of {self.agreement:.1%} of the rows (mean over classes "
            f"{self.class_agreement:.1%}); {neighbours}{complete}"
        )


def report_of(bank: MemoryBank, num_positives: int, exclude_same_id: bool) -> BankReport:
    """Return the figures of a bank that has rows.

    Args:
        bank: Whole bank, on the CPU.
        num_positives: Rows of a query's class that are retrieved; 0: no fixed number.
        exclude_same_id: True if rows of a query's own image are left out.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> logits = 9.0 * torch.eye(2)[labels]
        >>> bank = MemoryBank(Samples(logits / 9, logits, labels, torch.arange(4)), num_classes=2)
        >>> report = report_of(bank, num_positives=1, exclude_same_id=True)
        >>> report.agreement, report.knn_accuracy, report.complete, report.median
        (1.0, 1.0, 1.0, 2)
    """
    sizes = bank.offsets.diff()
    present = sizes[sizes > 0]
    candidates = spaced(len(bank), MAX_CANDIDATES)
    rows = candidates[spaced(len(candidates), MAX_QUERIES)]
    is_correct = torch.cat([_is_correct(bank.samples[b]) for b in candidates.split(BLOCK_ROWS)])
    queries = rows[has_class_neighbour(bank, rows, candidates, exclude_same_id)]
    predictions = neighbour_predictions(bank, queries, candidates, exclude_same_id)
    is_predicted = predictions.argmax(dim=1) == bank.labels[queries]
    return BankReport(
        smallest=int(present.min()),
        median=int(present.median()),
        missing=bank.num_classes - len(present),
        present=len(present),
        agreement=float(is_correct.mean()),
        class_agreement=mean_over_classes(is_correct, bank.labels[candidates]),
        num_queries=len(queries),
        knn_accuracy=float(is_predicted.double().mean()) if len(queries) else None,
        complete=_complete(bank, rows, num_positives, exclude_same_id) if num_positives else None,
    )


def spaced(length: int, most: int) -> Tensor:
    """Return at most ``most`` integers below ``length``, rising and evenly spaced.

    Example:
        >>> spaced(10, 4).tolist(), spaced(2, 4).tolist()
        ([0, 2, 5, 7], [0, 1])
    """
    return torch.arange(length) if length <= most else torch.arange(most) * length // most


def _is_correct(rows: Samples) -> Tensor:
    return (rows.logits.argmax(dim=1) == rows.labels).double()


def mean_over_classes(values: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes of the mean of ``(R,)`` values, by ``(R,)`` int64 labels.

    Example:
        >>> mean_over_classes(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([4, 4, 4, 7]))
        0.5
    """
    _, group, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=values.dtype).index_add_(0, group, values)
    return float((sums / counts).mean())


def neighbour_predictions(
    bank: MemoryBank, queries: Tensor, candidates: Tensor, exclude_same_id: bool
) -> Tensor:
    """Return the weight of each class among the nearest rows of each query.

    The class with the largest weight is the neighbour prediction. A query is not its own neighbour.

    Args:
        bank: Whole bank, on the CPU.
        queries: ``(Q,)`` int64 row numbers.
        candidates: ``(M',)`` int64 row numbers of the possible neighbours.
        exclude_same_id: True if rows of a query's own image are left out.

    Returns:
        ``(Q, C)`` float32; 0 for a query without neighbours.
    """
    features, ids = bank.features[queries].float(), bank.ids[queries]
    scores = torch.full((len(queries), NEIGHBOURS), -torch.inf)
    labels = torch.zeros_like(scores, dtype=torch.long)
    for rows in candidates.split(BLOCK_ROWS):
        similarity = features @ bank.features[rows].float().T
        similarity.masked_fill_(queries[:, None] == rows, -torch.inf)
        if exclude_same_id:
            similarity.masked_fill_(same_image(bank.ids[rows], ids), -torch.inf)
        all_labels = torch.cat([labels, bank.labels[rows].expand_as(similarity)], dim=1)
        scores, places = torch.cat([scores, similarity], dim=1).topk(NEIGHBOURS, dim=1)
        labels = all_labels.gather(1, places)
    weights = (scores / NEIGHBOUR_TEMPERATURE).exp()  # 0 in a place without a row
    return weights.new_zeros((len(queries), bank.num_classes)).scatter_add_(1, labels, weights)


def _complete(bank: MemoryBank, rows: Tensor, num_positives: int, exclude_same_id: bool) -> float:
    """Return the share of the rows whose class has enough other rows."""
    complete = 0
    for row in rows.tolist():
        same_class = slice(*bank.offsets[bank.labels[row] :][:2].tolist())
        is_positive = torch.ones_like(bank.ids[same_class], dtype=torch.bool)
        if exclude_same_id:
            is_positive = ~same_image(bank.ids[same_class], bank.ids[row][None])[0]
        complete += int(is_positive.sum()) >= num_positives
    return complete / len(rows)
