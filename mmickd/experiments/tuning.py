"""Tuning: rounds of trials for each method, and their results as a table."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mmickd.experiments.jobs import Job
from mmickd.experiments.launch import Launch
from mmickd.experiments.methods import Method
from mmickd.experiments.plan import Plan, Setting
from mmickd.experiments.runs import Record, RunLayout, RunSpec
from mmickd.experiments.scheduler import run_rounds
from mmickd.experiments.search import Search, Trial
from mmickd.experiments.table import markdown_table, mean_se, number
from mmickd.utils.digest import digest

STORAGE = "study.journal"
FIRST_SEED = 100
"""First seed of the trials, so that they share no seed with a report (0, 1, 2, ...)."""


class Tuning:
    """Trials of some methods: their runs and results.

    Args:
        methods: Methods that each get the same number of trials.
        metric: Key in the log; more is better.
        out: Existing folder of all runs.
        seeds: Number of runs of a trial.
        select: Options of the trials, which then validate on data that is used only for the choice.
        search_seed: Seed of the search.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        metric: str,
        out: Path,
        seeds: int = 1,
        select: Sequence[str] = (),
        search_seed: int = 0,
    ) -> None:
        self._seeds, self.out = range(FIRST_SEED, FIRST_SEED + seeds), out
        self.plan = Plan(
            title=Path(methods[0].entry.config).stem,
            metric=metric,
            students=tuple(method.entry for method in methods),
            select_options=tuple(select),
        )
        self._layout = RunLayout(self.plan, out, self._seeds)
        self._searches = {
            method: Search(
                out / STORAGE, method.name, method.ranges, search_seed,
                digest([
                    metric, seeds, list(select), search_seed,
                    method.content, [vars(r) for r in method.ranges],
                ]),
            )
            for method in methods
        }  # fmt: skip

    def run(
        self,
        trials: int,
        workers: int,
        minutes: float | None = None,
        launch: Launch | None = None,
    ) -> None:
        """Run ``trials`` trials of each method; ``results.jsonl`` gets a record of each run.

        ``workers`` is the number of runs, and of trials of each method, at a time. A trial with a
        failed run has no result. ``launch`` starts the runs; None: on this machine.

        Raises:
            JobFailed: If a run fails before any run has succeeded.
            TimeIsUp: If ``minutes`` are over before all runs are done.
        """
        rounds = self.rounds(trials, workers)
        run_rounds(rounds, self.records, self.out, workers, minutes, self.has_results, launch)

    def has_results(self) -> bool:
        """True if any run has succeeded, now or in an earlier call."""
        return any(trial.value is not None for trial in self._finished()) or any(
            run.job.stamp() is not None for run in self._layout.all()
        )

    def rounds(self, trials: int, at_a_time: int) -> Iterator[list[Job]]:
        """Yield the jobs of each round; a round needs the results of the earlier rounds.

        Each method gets ``trials`` trials, ``at_a_time`` of them in a round.
        """
        while True:
            round_ = [
                (method, trial)
                for method, search in self._searches.items()
                for trial in search.next_trials(trials, at_a_time)
            ]
            if not round_:
                return
            yield [run.job for method, trial in round_ for run in self._runs(method, trial)]
            for method, trial in round_:
                records = self._read_records(method, trial)
                values = self._values(records)
                value = fmean(values) if values else None
                self._searches[method].report(trial.number, value, records)

    def _runs(self, method: Method, trial: Trial) -> list[RunSpec]:
        setting = Setting(str(trial.number), trial.options)
        return [self._layout.trial(method.entry, setting, seed) for seed in self._seeds]

    def _read_records(self, method: Method, trial: Trial) -> list[Record]:
        """Return the records of a trial's finished runs, from their folders."""
        runs = [run for run in self._runs(method, trial) if run.job.stamp() is not None]
        for run in runs:
            run.check_has_metric()
        return [run.record() for run in runs]

    def _values(self, records: Sequence[Record]) -> list[float]:
        """Return the last metric of each run of a trial; empty if a run failed."""
        values = [record["last"] for record in records]
        return values if len(values) == len(self._seeds) else []

    def _finished(self) -> list[Trial]:
        return [t for search in self._searches.values() for t in search.finished_trials()]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each method, as in ``results.json``."""
        rows = []
        for method, search in self._searches.items():
            trials = search.finished_trials()
            done = [trial for trial in trials if trial.value is not None]
            best = max(done, key=lambda trial: trial.value or 0.0, default=None)
            first = next((trial.value for trial in trials if trial.number == 0), None)
            options = [*method.entry.options, *best.options] if best else []
            command = shlex.join([method.entry.config, "--cfg-options", *options])
            rows.append(
                dict(
                    name=method.name,
                    trials=len(trials),
                    failed=len(trials) - len(done),
                    as_is=first if all(r.holds_now for r in method.ranges) else None,
                    best=best.number if best else None,
                    values=self._values(best.records) if best else [],
                    config=method.entry.config,
                    options=options,
                    searched=[r.name for r in method.ranges],
                    command=f"mmickd train {command}" if best else "",
                )
            )
        return rows

    def records(self) -> list[Record]:
        """Return the records of all finished runs of finished trials, for ``results.jsonl``."""
        return [record for trial in self._finished() for record in trial.records]

    def to_json(self) -> dict[str, Any]:
        """Return metric, rows and finished trials for JSON."""
        return dict(
            metric=self.plan.metric,
            rows=self.rows(),
            trials=[
                dict(name=method.name, number=t.number, value=t.value, options=list(t.options))
                for method, search in self._searches.items()
                for t in search.finished_trials()
            ],
        )

    def as_markdown(self) -> str:
        """Return the table in Markdown."""
        columns = ["trials", "failed", f"{self.plan.metric}, as it is", "best trial", "its number"]
        cells = [
            [
                row["name"],
                str(row["trials"]),
                str(row["failed"]),
                "" if row["as_is"] is None else number(row["as_is"]),
                mean_se(row["values"]).text() if row["values"] else "",
                "" if row["best"] is None else str(row["best"]),
            ]
            for row in self.rows()
        ]
        return markdown_table([self.plan.title, *columns], cells)

    def note(self) -> str:
        """Return the sentences on how to read the table."""
        least = min(row["trials"] for row in self.rows())
        data = (
            "The trials validated on the data of --select-options: report the best settings on the "
            "config's validation set, which was not used for the choice."
            if self.plan.select_options
            else "The trials were chosen on the config's validation set: the result of the best "
            "trial on that set is optimistic. Choose on other data with --select-options, or "
            "report on other data."
        )
        return (
            f"The metric is measured at the end of each run. Each method had {least} trials. "
            f"{data} Compare the best settings over other seeds (mmickd compare) before you "
            "conclude which method is better."
        )

    def commands(self) -> str:
        """Return the command of the best trial of each method, for a shell."""
        rows = [row for row in self.rows() if row["command"]]
        return "\n".join(f"# best of {row['name']}\n{row['command']}" for row in rows)
