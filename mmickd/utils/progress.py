"""How far a long piece of work is."""

from __future__ import annotations

import time

from mmengine.logging import print_log

PROGRESS_SECONDS = 5.0


class Progress:
    """A line every few seconds, from rank 0; and one at the end.

    Args:
        total: steps of the work.
        unit: what a step does one of, in the plural.
        what: the work, at the beginning of each line.
        quiet: no line at the end of work that ends before the first one.

    Example:
        >>> clock = Progress(2, "files", "training images", quiet=True)
        >>> clock.step(), clock.step(), clock.done
        (None, None, 2)
    """

    def __init__(self, total: int, unit: str, what: str, quiet: bool = False) -> None:
        self.total, self.unit, self.what, self.quiet = total, unit, what, quiet
        self.done = 0
        self.begin = self.last = time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.monotonic()
        ends = self.done == self.total and not (self.quiet and self.last == self.begin)
        if now - self.last < PROGRESS_SECONDS and not ends:
            return
        self.last = now
        left = (now - self.begin) / self.done * (self.total - self.done)
        print_log(
            f"{self.what}: {self.done}/{self.total} {self.unit}, {now - self.begin:.0f} s, "
            f"{left:.0f} s left",
            logger="current",
        )
