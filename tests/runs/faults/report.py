"""What the campaign does, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

ANY_TIME = "any time"


@dataclass(frozen=True)
class Kill:
    """One SIGKILL.

    Args:
        place: of :mod:`tests.runs.faults.places` where a process waits for it, or ``ANY_TIME``.
        time: which time the process comes there.
        rank: that waits there.
        victim: rank that is killed.
        after: when to kill (``ANY_TIME``), in lengths of an undisturbed run. Such a run is slowed
            down everywhere, so that it may take more than one.
    """

    place: str
    time: int = 1
    rank: int = 0
    victim: int = 0
    after: float = 0.0


@dataclass
class Record:
    """What came of one kill. ``right``: the run that went on from it ended with what it should."""

    kill: Kill
    model: str
    ranks: int
    seconds: float
    orphans: list[str]
    right: bool = False


@dataclass
class Findings:
    """What must not be, of all lives."""

    records: list[Record] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken_accepted: list[str] = field(default_factory=list)
    broken_met: int = 0
    taken: int = 0
    litter: int = 0
    runs: int = 0


def moment(kill: Kill) -> str:
    """In words."""
    if kill.place == ANY_TIME:
        return f"{kill.after:.2f} of the time"
    return f"{kill.place} {kill.time} of rank {kill.rank}"


def table(findings: Findings) -> str:
    """Kills by moment and ranks, by model, and what must be 0."""
    lines = [f"{'moment':<24}{'ranks':>6}{'kills':>7}{'resumed right':>15}{'seconds':>9}"]
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in findings.records:
        groups.setdefault((record.kill.place, record.ranks), []).append(record)
    for (place, ranks), records in sorted(groups.items()):
        right, seconds = sum(r.right for r in records), sum(r.seconds for r in records)
        lines.append(f"{place:<24}{ranks:>6}{len(records):>7}{right:>15}{seconds:>9.0f}")
    right, seconds = (
        sum(getattr(r, name) for r in findings.records) for name in ("right", "seconds")
    )
    lines.append(f"{'all':<24}{'':>6}{len(findings.records):>7}{right:>15}{seconds:>9.0f}")
    for model in dict.fromkeys(record.model for record in findings.records):
        own = [record for record in findings.records if record.model == model]
        lines.append(f"{model:<24}{'':>6}{len(own):>7}{sum(r.right for r in own):>15}")
    orphans = sum(len(record.orphans) for record in findings.records)
    lines += [
        f"runs started: {findings.runs}; wrong: {len(findings.wrong)}; orphan processes: {orphans}",
        f"banks and checkpoints taken: {findings.taken}; broken ones met: {findings.broken_met}, "
        f"taken: {len(findings.broken_accepted)}; half written files that stay unused: "
        f"{findings.litter}",
    ]
    return "\n".join(lines)
