"""How long a part of the step takes, without making the host wait for the device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Times blocks on the CPU's clock, or by events on a CUDA device.

    Args:
        device: where the timed work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time what runs inside."""
        if self._cuda:
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
        """Seconds of all blocks that have ended by now, and forget them."""
        while self._events and self._events[0][1].query():
            first, last = self._events.popleft()
            self._seconds += first.elapsed_time(last) / 1000
        seconds, self._seconds = self._seconds, 0.0
        return seconds
