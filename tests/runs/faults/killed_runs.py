"""Runs that are killed, resumed, and compared at their end with an undisturbed run."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tests.helpers import toys
from tests.helpers.logs import READS
from tests.runs.faults.processes import Training
from tests.runs.faults.report import ANY_TIME, Findings, Kill, Record, moment
from tests.runs.faults.results import differing_parts, is_whole_bank
from tests.runs.faults.runs import FROZEN, Folders

TAKEN = re.compile(rf"(?:{READS}|[Ll]oads checkpoint by local backend from path: )(/\S+)")
"""Line of a log that names the bank or the checkpoint that a run reads."""


@dataclass(frozen=True)
class Reference:
    """Results of an undisturbed run."""

    checkpoint: dict[str, Any]
    losses: dict[int, dict[str, float]]
    banks: dict[str, dict[str, torch.Tensor]]
    seconds: float


@functools.cache
def reference(model: str, ranks: int) -> Reference:
    """Return the results of the run that is never killed."""
    folders, start = Folders.new(), time.monotonic()
    run = folders.launch(model, ranks, "reference")
    run.wait()
    assert run.exit_code() == 0, run.text[-3000:]
    assert not run.end_orphans()
    losses = {step: lines[0] for step, lines in folders.losses().items()}
    banks = toys.cached_banks(folders.cache)
    assert bool(banks) is (model in FROZEN)
    seconds = time.monotonic() - start
    return Reference(folders.last_checkpoint(), losses, banks, seconds)


class KilledRun:
    """A run in one work dir with its cache, which is killed and resumed.

    Args:
        model: Name of a run in :data:`tests.runs.faults.runs.MODELS`.
        ranks: Number of processes that train.
        findings: Collects the results.
    """

    def __init__(self, model: str, ranks: int, findings: Findings) -> None:
        self.model, self.ranks, self.findings = model, ranks, findings
        self.folders, self._records = Folders.new(), list[Record]()
        self._launches = 0

    def train(self, kills: Iterable[Kill]) -> bool:
        """Train from kill to kill, then to the end; False if the run ends before a kill."""
        for kill in kills:
            if not self._kill(kill):
                return False
        self.end()
        return True

    def end(self) -> None:
        """Train to the end without a kill."""
        run = self._launch()
        run.wait()
        self._compare(run)

    def _kill(self, kill: Kill) -> bool:
        """Start or resume the run and kill it; False if it ends before."""
        start, env = time.monotonic(), {}
        reached = self.folders.work.parent / f"reached{self._launches}"
        if kill.place == ANY_TIME:
            env = dict(FAULTS_PAUSE="0.02")
        else:
            place = f"{kill.place}:{kill.time}:{kill.rank}"
            env = dict(FAULTS_PLACE=place, FAULTS_REACHED=str(reached))
        run = self._launch(**env)
        if kill.place == ANY_TIME:
            run.wait(seconds=kill.after * reference(self.model, self.ranks).seconds)
        elif not run.wait(reached.exists):
            self._report(f"{kill} was never reached", run)
        if not run.kill(kill.victim):
            run.wait()
            self._compare(run)
            return False
        run.wait()  # the launcher ends the other rank
        if run.exit_code() == 0 and kill.place == ANY_TIME:  # the process was about to end
            self._compare(run)
            return False
        if run.exit_code() in (None, 0):
            self._report(f"{kill} left the run with exit code {run.exit_code()}", run)
        orphans = run.end_orphans()
        self._records.append(
            Record(kill, self.model, self.ranks, time.monotonic() - start, orphans)
        )
        self.findings.records.append(self._records[-1])
        print(
            f"  {self.model}, {self.ranks} rank(s): killed rank {kill.victim} at {moment(kill)}"
            f" ({self._records[-1].seconds:.1f} s)",
            flush=True,
        )
        return True

    def _launch(self, **env: str) -> Training:
        """Start or resume; the run must not use a file that is broken now."""
        broken = self._broken_banks() + self._broken_checkpoints()
        self.findings.broken_files += len(broken)
        if self._launches:
            self._check_taken(self._last_run, self._last_broken)
        run = self.folders.launch(self.model, self.ranks, f"run{self._launches}", "--resume", **env)
        self._launches += 1
        self.findings.runs += 1
        self._last_run, self._last_broken = run, broken
        return run

    def _check_taken(self, run: Training, broken: Sequence[str]) -> None:
        """Record the files that a run has read, and those that were broken at its start."""
        taken = TAKEN.findall(run.text)
        self.findings.taken += len(taken)
        self.findings.broken_taken += [path for path in taken if path in broken]

    def _broken_banks(self) -> list[str]:
        """Return the folders in the cache without a whole bank."""
        folders = self.folders.cache.glob("*/")
        return [str(f) for f in folders if any(f.iterdir()) and not is_whole_bank(f)]

    def _broken_checkpoints(self) -> list[str]:
        """Return the checkpoints that torch cannot read."""
        broken = []
        for path in self.folders.work.glob("*.pth"):
            try:
                torch.load(path, map_location="cpu", weights_only=False)
            except Exception:  # torch raises several kinds for half a file
                broken.append(str(path))
        return broken

    def _compare(self, run: Training) -> None:
        """Compare a run at its end with the one that is never killed."""
        if run.exit_code() != 0:
            self._report(f"the run ended with {run.exit_code()}", run)
            return
        if orphans := run.end_orphans():
            self._report(f"processes left at the end: {orphans}", run)
        self._check_taken(run, self._last_broken)
        expected = reference(self.model, self.ranks)
        differing = differing_parts(self.folders.last_checkpoint(), expected.checkpoint)
        logged = self.folders.losses()
        if logged.keys() != expected.losses.keys() or any(
            line != expected.losses[step] for step, lines in logged.items() for line in lines
        ):
            differing.append("losses in the logs")
        banks = toys.cached_banks(self.folders.cache)
        if not toys.same_state(banks, expected.banks) or self._broken_banks():
            differing.append("bank in the cache")
        if differing:
            parts = f"{differing[:12]}, {len(differing)} in all"
            self._report(f"not as in the undisturbed run: {parts}", run)
            return
        # no run resumes from these: mmengine forgets half a file of the best weights
        self.findings.litter += len(self._broken_checkpoints())
        for name in (".bank.*", ".images.*", ".manifest.*"):
            self.findings.litter += len(list(self.folders.cache.rglob(name)))
        for record in self._records:
            record.is_right = True

    def _report(self, fault: str, run: Training) -> None:
        kills = ", ".join(moment(record.kill) for record in self._records)
        self.findings.faults.append(
            f"{self.model}, {self.ranks} rank(s), after [{kills}]: {fault}\n{run.text[-1500:]}"
        )
        print(self.findings.faults[-1], flush=True)
