"""Time of a part of the training step, measured without making the host wait for the device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Timer of blocks, by the CPU's clock or by events on a CUDA device."""

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
