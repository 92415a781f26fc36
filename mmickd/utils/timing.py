"""Stopwatch for parts of a training step, and progress lines of long tasks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import print_log

PROGRESS_SECONDS = 5.0


class Stopwatch:
    """Timer of code blocks, by the CPU's clock or by events on a CUDA device."""

    def __init__(self) -> None:
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._seconds = 0.0

    @contextmanager
    def timed(self, device: torch.device) -> Iterator[None]:
        """Time the work of the block, which runs on ``device``."""
        if device.type == "cuda":
            events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            events[0].record()
            yield
            events[1].record()
            self._events.append(events)
        else:
            begin = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - begin

    def collect(self) -> float:
        """Return the seconds of all blocks that ended since the last call."""
        while self._events and self._events[0][1].query():
            first, last = self._events.popleft()
            self._seconds += first.elapsed_time(last) / 1000
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class Progress:
    """Progress log of rank 0: a line every few seconds, and a line at the end.

    Args:
        total: Number of steps.
        unit: Name of the items, in the plural.
        what: Name of the task, at the beginning of each line.
        quiet: True logs nothing if the task ends before the first line is due.

    Example:
        >>> progress = Progress(2, "files", "training images", quiet=True)
        >>> progress.step(), progress.step(), progress.done
        (None, None, 2)
    """

    def __init__(self, total: int, unit: str, what: str, quiet: bool = False) -> None:
        self.total, self.unit, self.what, self.quiet = total, unit, what, quiet
        self.done = 0
        self.begin = self.last = time.monotonic()

    def step(self) -> None:
        """Count one step as done."""
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
