"""Lives of runs: started, killed, resumed, killed again, and in the end compared."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tests.helpers import toys
from tests.runs.faults.processes import Training
from tests.runs.faults.report import ANY_TIME, Findings, Kill, Record, moment
from tests.runs.faults.results import differing_parts, is_whole_bank
from tests.runs.faults.runs import FROZEN, Folders

TAKEN = re.compile(r"(?:memory bank from|[Ll]oads checkpoint by local backend from path:) (/\S+)")
"""How a run says which bank or checkpoint it takes."""


@dataclass(frozen=True)
class Reference:
    """An undisturbed run."""

    checkpoint: dict[str, Any]
    losses: dict[int, dict[str, float]]
    banks: dict[str, dict[str, torch.Tensor]]
    seconds: float


@functools.cache
def reference(model: str, ranks: int) -> Reference:
    """The run that was never killed."""
    folders, begin = Folders.new(), time.monotonic()
    run = folders.launch(model, ranks, "reference")
    run.wait()
    assert run.ended() == 0, run.text[-3000:]
    assert not run.left()
    losses = {step: lines[0] for step, lines in folders.losses().items()}
    banks = toys.cached_banks(folders.cache)
    assert bool(banks) is (model in FROZEN)
    seconds = time.monotonic() - begin
    return Reference(folders.last_checkpoint(), losses, banks, seconds)


class Life:
    """One work dir with its cache, and the kills that it sees.

    Args:
        model: of :data:`tests.runs.faults.runs.MODELS`.
        ranks: processes that train.
        findings: where everything is noted.
    """

    def __init__(self, model: str, ranks: int, findings: Findings) -> None:
        self.model, self.ranks, self.findings = model, ranks, findings
        self.folders, self._records = Folders.new(), list[Record]()
        self._launches = 0

    def live(self, kills: Iterable[Kill]) -> bool:
        """Run from kill to kill, then to the end; False if it came to its end before a kill."""
        for kill in kills:
            if not self._killed(kill):
                return False
        self.end()
        return True

    def end(self) -> None:
        """The last run, which nothing disturbs."""
        run = self._launch()
        run.wait()
        self._ended(run)

    def _killed(self, kill: Kill) -> bool:
        begin, env = time.monotonic(), {}
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
            self._wrong(f"{kill} was never reached", run)
        if not run.kill(kill.victim):
            run.wait()
            self._ended(run)
            return False
        run.wait()  # of two ranks, the launcher brings the other one down
        if run.ended() == 0 and kill.place == ANY_TIME:  # the signal met a process at its end
            self._ended(run)
            return False
        if run.ended() in (None, 0):
            self._wrong(f"{kill} left the run with exit code {run.ended()}", run)
        orphans = run.left()
        self._records.append(
            Record(kill, self.model, self.ranks, time.monotonic() - begin, orphans)
        )
        self.findings.records.append(self._records[-1])
        print(
            f"  {self.model}, {self.ranks} rank(s): killed rank {kill.victim} at {moment(kill)}"
            f" ({self._records[-1].seconds:.1f} s)",
            flush=True,
        )
        return True

    def _launch(self, **env: str) -> Training:
        """Start or resume; what is broken on the disk now must not be used."""
        broken = self._broken_banks() + self._broken_checkpoints()
        self.findings.broken_met += len(broken)
        if self._launches:
            self._look_at(self._last_run, self._last_broken)
        run = self.folders.launch(self.model, self.ranks, f"run{self._launches}", "--resume", **env)
        self._launches += 1
        self.findings.runs += 1
        self._last_run, self._last_broken = run, broken
        return run

    def _look_at(self, run: Training, broken: Sequence[str]) -> None:
        """Whether a run took anything that was broken when it began."""
        taken = TAKEN.findall(run.text)
        self.findings.taken += len(taken)
        self.findings.broken_accepted += [path for path in taken if path in broken]

    def _broken_banks(self) -> list[str]:
        """Folders in the cache without a whole bank."""
        folders = self.folders.cache.glob("*/")
        return [str(f) for f in folders if any(f.iterdir()) and not is_whole_bank(f)]

    def _broken_checkpoints(self) -> list[str]:
        """Files of checkpoints that torch cannot read."""
        broken = []
        for path in self.folders.work.glob("*.pth"):
            try:
                torch.load(path, map_location="cpu", weights_only=False)
            except Exception:  # whatever torch says of half a file
                broken.append(str(path))
        return broken

    def _ended(self, run: Training) -> None:
        """Compare a run that came to its end with the one that was never killed."""
        if run.ended() != 0:
            self._wrong(f"the run ended with {run.ended()}", run)
            return
        if left := run.left():
            self._wrong(f"processes left at the end: {left}", run)
        self._look_at(run, self._last_broken)
        wanted = reference(self.model, self.ranks)
        differing = differing_parts(self.folders.last_checkpoint(), wanted.checkpoint)
        logged = self.folders.losses()
        if logged.keys() != wanted.losses.keys() or any(
            line != wanted.losses[step] for step, lines in logged.items() for line in lines
        ):
            differing.append("losses in the logs")
        banks = toys.cached_banks(self.folders.cache)
        if not toys.same_state(banks, wanted.banks) or self._broken_banks():
            differing.append("bank in the cache")
        if differing:
            named = f"{differing[:12]}, {len(differing)} in all"
            self._wrong(f"not as in the undisturbed run: {named}", run)
            return
        # nobody goes on from these: mmengine forgets half a file of the best weights
        self.findings.litter += len(self._broken_checkpoints())
        for name in (".bank.*", ".images.*", ".manifest.*"):
            self.findings.litter += len(list(self.folders.cache.rglob(name)))
        for record in self._records:
            record.right = True

    def _wrong(self, what: str, run: Training) -> None:
        story = ", ".join(moment(record.kill) for record in self._records)
        self.findings.wrong.append(
            f"{self.model}, {self.ranks} rank(s), after [{story}]: {what}\n{run.text[-1500:]}"
        )
        print(self.findings.wrong[-1], flush=True)
