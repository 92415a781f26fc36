"""Rows whose neighbours disagree with their label: whom to look at for wrong labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmickd.banks.exclusion import has_class_neighbour, same_image
from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics.bank_report import VOTE_TEMPERATURE, spaced

COMPARED = 2**14
"""Most rows that vote; of a larger bank, evenly spaced ones, so that each class keeps its share."""
BLOCK_ELEMENTS = 2**24
"""Similarities that are held at once: 64 MiB."""
VOTERS = 10
"""Nearest rows that vote on a row's class; more than report's, so that one wrong label is few."""


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Labelled things in the order in which somebody should look at them, the worst first.

    Args:
        ids: ``(G,)`` int64; images.
        labels: ``(G,)`` int64; what they are labelled.
        suggested: ``(G,)`` int64; the class that their neighbours vote for, which may be the label.
        scores: ``(G,)`` float32 in [0, 1]; share of their neighbours' votes for other classes.
    """

    ids: Tensor
    labels: Tensor
    suggested: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def label_issues(bank: MemoryBank) -> LabelIssues:
    """Every class of every image of a bank, the most suspicious first.

    Each row asks the nearest rows of any class, those of its own image left out, for their labels;
    a vote weighs more the more similar they are. Rows of one class of one image (pixels) count
    together: the mean of their scores, the class that most of them suggest. All rows ask; where a
    bank has more than :data:`COMPARED`, so many of them, evenly spaced, answer. A row of whose
    class no other image answers has score 0: its neighbours say nothing of its label.

    The teacher has learnt from the same labels. As far as it knows wrong ones by heart, so do its
    features, those of its last layers the most.

    Args:
        bank: whole, on any device.

    Returns:
        On the CPU.

    Example:
        >>> from mmickd.structures import Samples
        >>> features = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 0])  # the last one is wrong
        >>> rows = Samples(features, torch.zeros(6, 2), labels, ids=torch.arange(6))
        >>> found = label_issues(MemoryBank(rows, num_classes=2))
        >>> found.ids[0].item(), found.labels[0].item(), found.suggested[0].item()
        (5, 0, 1)
    """
    compared = spaced(len(bank), COMPARED).to(bank.device)
    voters = bank.samples[compared]
    features = voters.features.float()
    at_once = max(1, BLOCK_ELEMENTS // max(1, len(compared), bank.num_classes))
    scores, suggested = [], []
    for rows in torch.arange(len(bank), device=bank.device).split(at_once):
        similarity = bank.features[rows].float() @ features.T
        similarity.masked_fill_(rows[:, None] == compared, -torch.inf)
        similarity.masked_fill_(same_image(voters.ids, bank.ids[rows]), -torch.inf)
        nearest, places = similarity.topk(min(VOTERS, len(compared)), dim=1)
        votes = _votes(nearest, voters.labels[places], bank.num_classes)
        own = votes.gather(1, bank.labels[rows, None])[:, 0]
        judged = has_class_neighbour(bank, rows, compared, exclude_same_id=True)
        scores.append(torch.where(judged, 1 - own, 0.0).clamp(0, 1).cpu())
        suggested.append(torch.where(judged, votes.argmax(dim=1), bank.labels[rows]).cpu())
    return _by_image(bank, torch.cat(scores), torch.cat(suggested))


def _votes(similarity: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """``(Q, C)`` shares of votes; 0 everywhere for a row without neighbours."""
    weights = (similarity / VOTE_TEMPERATURE).softmax(dim=1).nan_to_num_(0.0)
    return weights.new_zeros((len(labels), num_classes)).scatter_add_(1, labels, weights)


def _by_image(bank: MemoryBank, scores: Tensor, suggested: Tensor) -> LabelIssues:
    """Rows of one class of one image as one; rows of no known image are left out."""
    ids, labels = bank.ids.cpu(), bank.labels.cpu()
    known = (ids >= 0).nonzero()[:, 0]
    ids, labels, scores, suggested = (x[known] for x in (ids, labels, scores, suggested))
    things, own, sizes = torch.stack([ids, labels], dim=1).unique(
        dim=0, return_inverse=True, return_counts=True
    )
    sums = torch.zeros(len(things), dtype=torch.float64).index_add_(0, own, scores.double())
    means = (sums / sizes).float()
    order = means.argsort(descending=True, stable=True)
    return LabelIssues(
        things[order, 0], things[order, 1], _mostly(own, suggested)[order], means[order]
    )


def _mostly(group: Tensor, values: Tensor) -> Tensor:
    """``(G,)``; of each group the value that most of its members have."""
    pairs, counts = torch.stack([group, values], dim=1).unique(dim=0, return_counts=True)
    groups = int(group.max()) + 1 if len(group) else 0
    best = torch.zeros(groups, dtype=torch.long).scatter_reduce_(0, pairs[:, 0], counts, "amax")
    most = pairs[counts == best[pairs[:, 0]]]
    first = torch.searchsorted(most[:, 0].contiguous(), torch.arange(groups))  # of equals
    return most[first, 1]
