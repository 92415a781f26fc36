"""Retrieval by loops over Python floats, independent of mmickd's retrievers."""

from __future__ import annotations

from mmickd.structures import Samples


def search(
    bank: Samples,
    query: Samples,
    num_positives: int | None,
    num_negatives: int,
    num_classes: int,
    exclude_same_id: bool,
) -> tuple[list[list[tuple[float, int]]], list[list[tuple[float, int]]]]:
    """Return (similarity, row) of positives and of negatives of each query, best first."""
    rows = bank.features.double().tolist()
    labels, ids = bank.labels.tolist(), bank.ids.tolist()
    if num_positives is None:
        num_positives = max([labels.count(c) for c in range(num_classes)], default=0)
    positives, negatives = [], []
    for feature, label, image in zip(
        query.features.double().tolist(), query.labels.tolist(), query.ids.tolist(), strict=True
    ):
        same, other = [], []
        for row, vector in enumerate(rows):
            if label < 0 or (exclude_same_id and image >= 0 and ids[row] == image):
                continue
            similarity = sum(a * b for a, b in zip(feature, vector, strict=True))
            (same if labels[row] == label else other).append((similarity, row))
        positives.append(sorted(same, key=lambda pair: (-pair[0], pair[1]))[:num_positives])
        negatives.append(sorted(other, key=lambda pair: (-pair[0], pair[1]))[:num_negatives])
    return positives, negatives
