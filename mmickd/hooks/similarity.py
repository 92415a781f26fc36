"""A look at what retrieval finds, where the log is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import HistoryBuffer, print_log

PATIENCE = 1000
"""Iterations in a row after which nearer rows of other classes are no chance."""


class SimilarityWatch:
    """Says once when rows of other classes have been nearer than those of the own for long.

    It reads what the log has on the host anyway.

    Args:
        pairs: names in the log of the mean similarity of positives, and of negatives.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._below = dict.fromkeys(pairs, 0)
        self._read: dict[str, int] = {}

    def look(self, scalars: Mapping[str, HistoryBuffer]) -> None:
        """Look at the iterations since the last look.

        Args:
            scalars: histories of the log by name (``MessageHub.log_scalars``).
        """
        lengths = {name: len(history.data[0]) for name, history in scalars.items()}
        for pair in list(self._below):
            own, others = (f"train/{name}" for name in pair)
            # of what a resumed run has in its log, and while a term has no weight: none
            new = min(
                lengths.get(n, 0) - self._read.get(n, lengths.get(n, 0)) for n in (own, others)
            )
            if new <= 0:
                continue
            nearest, other = float(scalars[own].mean(new)), float(scalars[others].mean(new))
            self._below[pair] = self._below[pair] + new if nearest < other else 0
            if self._below[pair] >= PATIENCE:
                del self._below[pair]
                _warn(*pair, nearest, other)
        self._read = lengths


def _warn(own: str, others: str, nearest: float, other: float) -> None:
    print_log(
        f"{own} ({nearest:.3f}) has been below {others} ({other:.3f}) for {PATIENCE} iterations: "
        "to the teacher, rows of other classes look more alike than those of the own class. Its "
        "features do not tell the classes apart (weights, labels, normalisation?), or "
        "num_positives is more than are alike (docs/reading-the-log.md).",
        logger="current",
        level=logging.WARNING,
    )
