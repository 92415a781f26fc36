"""Label issues: labels of a bank's rows that their neighbours contradict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmickd.banks.exclusion import has_class_neighbour, same_image
from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics.bank_report import MAX_QUERIES, NEIGHBOUR_TEMPERATURE, spaced

NEIGHBOURS = 10
"""Number of nearest rows that a label is compared with; a few errors among them do no harm."""
MAX_CANDIDATES = 2**14
"""Maximum number of rows that can be neighbours; a larger bank is sampled evenly in each class."""
BLOCK_ELEMENTS = 2**24
"""Maximum number of similarities in memory: 64 MiB."""
MAJORITY = 0.5
"""Share of a class among the neighbours above which they contradict another label (our choice)."""
SURE = 0.9
"""Probability above which a prediction of the teacher counts as sure."""
MIN_SURE_RATIO = 0.8
"""Minimum share of sure predictions among the predictions of other classes than the label, relative
to the share among the predictions of the label."""


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """All labels of a bank's images by falling score; an image has a label for each of its classes.

    Args:
        ids: ``(G,)`` int64; images.
        labels: ``(G,)`` int64; their labels.
        suggested: ``(G,)`` int64; most probable class by the neighbours, which may be the label.
        scores: ``(G,)`` float32 in [0, 1]; the higher, the less probable the label is.
        is_issue: ``(G,)`` bool; True if the label is a label issue.
    """

    ids: Tensor
    labels: Tensor
    suggested: Tensor
    scores: Tensor
    is_issue: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def label_issues(bank: MemoryBank) -> LabelIssues:
    """Score the labels of all images of a bank.

    The :data:`NEIGHBOURS` nearest rows of other images, with weights ``exp(similarity / 0.1)``,
    define two distributions: the shares of their labels, and the mean of the teacher's predictions
    for them. The probability of a class is the mean of both. The score of a row is 1 minus the mean
    of two probabilities of its label: this one, and the teacher's prediction for the row itself.

    The row is a label issue if both distributions give more than :data:`MAJORITY` to the same class
    and this class is not the label. A row whose class no other image has is no issue, and its score
    is 0. The rows of one class in one image (pixels) are merged: mean score, most frequent
    suggestion, and an issue if most rows are issues.

    The teacher was trained on the same labels. If it has memorised label errors, its last features
    reflect them; features of earlier layers are better then. Figures: docs/commands/gallery.md.

    Args:
        bank: Whole bank, on any device.

    Returns:
        The labels, on the CPU. Rows of unknown images are left out.

    Example:
        >>> from mmickd.structures import Samples
        >>> features = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 0])  # the last label is an error
        >>> rows = Samples(features, 9 * features, labels, ids=torch.arange(6))
        >>> issues = label_issues(MemoryBank(rows, num_classes=2))
        >>> issues.ids[issues.is_issue].tolist(), issues.suggested[0].item()
        ([5], 1)
    """
    rows = torch.arange(len(bank), device=bank.device)
    scores, suggested, is_issue = (x.cpu() for x in _score_rows(bank, rows, exclude_same_id=True))
    has_image = bank.ids.cpu() >= 0
    pairs = torch.stack([bank.ids.cpu(), bank.labels.cpu()], dim=1)[has_image]
    pairs, group = pairs.unique(dim=0, return_inverse=True)
    scores = _mean_of_groups(scores[has_image], group, len(pairs))
    is_issue = _mean_of_groups(is_issue[has_image], group, len(pairs)) > 0.5
    order = scores.argsort(descending=True, stable=True)
    suggested = _mode_of_groups(suggested[has_image], group, len(pairs))
    return LabelIssues(
        pairs[order, 0], pairs[order, 1], suggested[order], scores[order].float(), is_issue[order]
    )


def share_of_label_issues(bank: MemoryBank, exclude_same_id: bool) -> float | None:
    """Return the share of rows that are label issues, estimated from evenly spaced rows.

    Neighbours contradict labels also where the teacher's features are bad. But then its predictions
    of other classes are less often sure than its predictions of the labels; label errors do not
    have this effect. So the share is estimated only if both are about equally often sure.

    Args:
        bank: Whole bank, on the CPU.
        exclude_same_id: True if rows of the same image are no neighbours.

    Returns:
        Share of label issues among the rows whose class another row has. None if there is no such
        row, or if predictions of other classes are less often sure than predictions of the labels.
    """
    rows = spaced(len(bank), MAX_QUERIES)
    rows = rows[has_class_neighbour(bank, rows, _candidates(bank), exclude_same_id)]
    if not len(rows):
        return None
    is_issue = _score_rows(bank, rows, exclude_same_id)[2]
    probability, predicted = bank.logits[rows].float().softmax(dim=1).max(dim=1)
    is_sure, is_other_class = (probability > SURE).double(), predicted != bank.labels[rows]
    minimum = MIN_SURE_RATIO * is_sure[~is_other_class].mean()
    if is_other_class.any() and not is_sure[is_other_class].mean() >= minimum:  # None also for NaN
        return None
    return float(is_issue.double().mean())


def _candidates(bank: MemoryBank) -> Tensor:
    return spaced(len(bank), MAX_CANDIDATES).to(bank.device)


def _score_rows(
    bank: MemoryBank, rows: Tensor, exclude_same_id: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the score, the suggested class and the decision of each of ``(Q,)`` rows."""
    candidates = _candidates(bank)
    samples, num_classes = bank.samples[candidates], bank.num_classes
    features, predictions = samples.features.float(), samples.logits.float().softmax(dim=1)
    elements = max(len(candidates), NEIGHBOURS * num_classes, 1)
    parts = []
    for chunk in rows.split(max(1, BLOCK_ELEMENTS // elements)):
        similarity = bank.features[chunk].float() @ features.T
        similarity.masked_fill_(chunk[:, None] == candidates, -torch.inf)
        if exclude_same_id:
            similarity.masked_fill_(same_image(samples.ids, bank.ids[chunk]), -torch.inf)
        nearest, places = similarity.topk(min(NEIGHBOURS, len(candidates)), dim=1)
        weights = (nearest / NEIGHBOUR_TEMPERATURE).softmax(dim=1).nan_to_num_(0.0)
        by_label = weights.new_zeros((len(chunk), num_classes))
        by_label.scatter_add_(1, samples.labels[places], weights)
        by_teacher = (weights[:, None] @ predictions[places])[:, 0]
        probability = (by_label + by_teacher) / 2
        labels, suggested = bank.labels[chunk], probability.argmax(dim=1)
        has_neighbour = has_class_neighbour(bank, chunk, candidates, exclude_same_id)
        is_majority = [
            x.gather(1, suggested[:, None])[:, 0] > MAJORITY for x in (by_label, by_teacher)
        ]
        of_row = bank.logits[chunk].float().softmax(dim=1)
        scores = 1 - (probability + of_row).gather(1, labels[:, None])[:, 0] / 2
        parts.append((
            torch.where(has_neighbour, scores, 0.0).clamp(0, 1),
            torch.where(has_neighbour, suggested, labels),
            has_neighbour & (suggested != labels) & is_majority[0] & is_majority[1],
        ))  # fmt: skip
    scores, suggested, is_issue = (torch.cat(column) for column in zip(*parts, strict=True))
    return scores, suggested, is_issue


def _mean_of_groups(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the ``(count,)`` float64 mean of the values of each group."""
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, group, values.double())
    return sums / torch.bincount(group, minlength=count)


def _mode_of_groups(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the ``(count,)`` most frequent value of each group; of equals, the smallest."""
    pairs, counts = torch.stack([group, values], dim=1).unique(dim=0, return_counts=True)
    order = counts.argsort(stable=True, descending=True)
    order = order[pairs[order, 0].argsort(stable=True)]
    first = torch.searchsorted(pairs[order, 0].contiguous(), torch.arange(count))
    return pairs[order][first, 1]
