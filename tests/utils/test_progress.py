"""Lines of progress: now and then, and one at the end."""

from __future__ import annotations

import pytest

from mmickd.utils import progress
from mmickd.utils.progress import Progress


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed, on a clock that goes on by 2 s with every look."""
    found: list[str] = []
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(progress, "print_log", lambda text, logger: found.append(text))
    return found


def run(total: int, quiet: bool) -> None:
    clock = Progress(total, "files", "work", quiet)
    for _ in range(total):
        clock.step()


def test_a_line_every_few_seconds_and_at_the_end(lines: list[str]) -> None:
    run(7, quiet=False)
    assert lines == [
        "work: 3/7 files, 6 s, 8 s left",
        "work: 6/7 files, 12 s, 2 s left",
        "work: 7/7 files, 14 s, 0 s left",
    ]


def test_what_was_quick_needs_no_line(lines: list[str]) -> None:
    run(2, quiet=True)
    assert not lines
    run(4, quiet=True)
    assert [line.split()[1] for line in lines] == ["3/4", "4/4"]
    run(2, quiet=False)
    assert lines[-1].startswith("work: 2/2")
