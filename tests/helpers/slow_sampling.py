"""Sub-sampling as a loop; nothing of mmickd is used."""

from __future__ import annotations


def smallest(labels: list[int], keys: list[int], classes: int, count: int | None) -> list[int]:
    """Rows of the ``count`` smallest keys of each class, by class and then by key."""
    rows = []
    for c in range(classes):
        of_class = sorted((i for i in range(len(labels)) if labels[i] == c), key=lambda i: keys[i])
        rows += of_class if count is None else of_class[:count]
    return rows
