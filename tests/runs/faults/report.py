"""Kills of the campaign and their results."""

from __future__ import annotations

from dataclasses import dataclass, field

ANY_TIME = "any time"


@dataclass(frozen=True)
class Kill:
    """One SIGKILL.

    Args:
        place: Place of :mod:`tests.runs.faults.places` where a process waits, or ``ANY_TIME``.
        time: Number of the visit to the place, from 1.
        rank: Rank that waits at the place.
        victim: Rank that is killed.
        after: Time of the kill (``ANY_TIME``), in lengths of an undisturbed run. The run is slowed
            down everywhere, so that it may take more than one length.
    """

    place: str
    time: int = 1
    rank: int = 0
    victim: int = 0
    after: float = 0.0


@dataclass
class Record:
    """Result of a kill; ``is_right``: the resumed run ended as the undisturbed one."""

    kill: Kill
    model: str
    ranks: int
    seconds: float
    orphans: list[str]
    is_right: bool = False


@dataclass
class Findings:
    """Results of all runs; ``faults`` and ``broken_taken`` must stay empty."""

    records: list[Record] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    broken_taken: list[str] = field(default_factory=list)
    broken_files: int = 0
    taken: int = 0
    litter: int = 0
    runs: int = 0


def moment(kill: Kill) -> str:
    """Return the moment of a kill in words."""
    if kill.place == ANY_TIME:
        return f"{kill.after:.2f} of the time"
    return f"{kill.place} {kill.time} of rank {kill.rank}"


def table(findings: Findings) -> str:
    """Return a table of kills by moment and ranks and by model, with all faults."""
    lines = [f"{'moment':<24}{'ranks':>6}{'kills':>7}{'resumed right':>15}{'seconds':>9}"]
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in findings.records:
        groups.setdefault((record.kill.place, record.ranks), []).append(record)
    for (place, ranks), records in sorted(groups.items()):
        right, seconds = sum(r.is_right for r in records), sum(r.seconds for r in records)
        lines.append(f"{place:<24}{ranks:>6}{len(records):>7}{right:>15}{seconds:>9.0f}")
    right = sum(r.is_right for r in findings.records)
    seconds = sum(r.seconds for r in findings.records)
    lines.append(f"{'all':<24}{'':>6}{len(findings.records):>7}{right:>15}{seconds:>9.0f}")
    for model in dict.fromkeys(record.model for record in findings.records):
        records = [record for record in findings.records if record.model == model]
        right = sum(r.is_right for r in records)
        lines.append(f"{model:<24}{'':>6}{len(records):>7}{right:>15}")
    orphans = sum(len(record.orphans) for record in findings.records)
    lines += [
        f"runs started: {findings.runs}; faults: {len(findings.faults)}; orphans: {orphans}",
        f"banks and checkpoints read: {findings.taken}; broken files: {findings.broken_files}, "
        f"read: {len(findings.broken_taken)}; unused halves of files: {findings.litter}",
    ]
    return "\n".join(lines)
