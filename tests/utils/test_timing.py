"""The stopwatch, and the progress lines of long work."""

from __future__ import annotations

import time

import pytest
import torch

from mmickd.utils import timing
from mmickd.utils.timing import Progress, Stopwatch


def test_stopwatch_adds_up_and_starts_again():
    stopwatch = Stopwatch()
    assert stopwatch.collect() == 0
    for _ in range(2):
        with stopwatch.timed(torch.device("cpu")):
            time.sleep(0.01)
    assert 0.02 <= stopwatch.collect() < 2
    assert stopwatch.collect() == 0


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Progress lines, under a clock that advances by 2 s at each reading."""
    printed: list[str] = []
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(timing.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(timing, "print_log", lambda text, logger: printed.append(text))
    return printed


def run(total: int, quiet: bool) -> None:
    progress = Progress(total, "files", "work", quiet)
    for _ in range(total):
        progress.step()


def test_progress_prints_every_few_seconds_and_at_the_end(lines: list[str]) -> None:
    run(7, quiet=False)
    assert lines == [
        "work: 3/7 files, 6 s, 8 s left",
        "work: 6/7 files, 12 s, 2 s left",
        "work: 7/7 files, 14 s, 0 s left",
    ]


def test_quick_work_needs_no_line(lines: list[str]) -> None:
    run(2, quiet=True)
    assert not lines
    run(4, quiet=True)
    assert [line.split()[1] for line in lines] == ["3/4", "4/4"]
    run(2, quiet=False)
    assert lines[-1].startswith("work: 2/2")
