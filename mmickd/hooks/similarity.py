"""Comparison of the logged similarities of positives and negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.logging import HistoryBuffer

from mmickd.diagnostics.finding import Finding

PATIENCE = 1000
"""Number of consecutive iterations with more similar negatives before a finding."""


class SimilarityMonitor:
    """Monitor that warns once if negatives stay more similar to the queries than positives.

    It reads values that the log already has on the host.

    Args:
        pairs: Log names of the mean similarity of positives, and of negatives.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._iterations_below = dict.fromkeys(pairs, 0)
        self._lengths: dict[str, int] = {}

    def update(self, scalars: Mapping[str, HistoryBuffer]) -> None:
        """Compare the values that were logged since the last call.

        Args:
            scalars: Histories of the log by name (``MessageHub.log_scalars``).
        """
        lengths = {name: len(history.data[0]) for name, history in scalars.items()}
        for pair in list(self._iterations_below):
            names = [f"train/{name}" for name in pair]
            # 0 for values from before a resumed run, and while the weight of a term is 0
            new = min(
                lengths.get(name, 0) - self._lengths.get(name, lengths.get(name, 0))
                for name in names
            )
            if new <= 0:
                continue
            positive, negative = (float(scalars[name].mean(new)) for name in names)
            iterations = self._iterations_below[pair] + new if positive < negative else 0
            self._iterations_below[pair] = iterations
            if iterations >= PATIENCE:
                del self._iterations_below[pair]
                _finding(*pair, positive, negative).log()
        self._lengths = lengths


def _finding(positive_name: str, negative_name: str, positive: float, negative: float) -> Finding:
    return Finding(
        "similar_negatives",
        "warning",
        f"{positive_name} ({positive:.3f}) has been below {negative_name} ({negative:.3f}) for "
        f"{PATIENCE} iterations: rows of other classes have more similar features than rows of the "
        "query's class. Check the teacher's weights, its labels and its normalisation, or set "
        "num_positives lower (docs/start/reading-the-log.md).",
    )
