"""A tuning: rounds of trials, by the machinery of comparisons, and what they came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mmickd.experiments.jobs import Job
from mmickd.experiments.methods import Method
from mmickd.experiments.plan import Plan, Setting
from mmickd.experiments.records import record
from mmickd.experiments.runs import RunLayout, RunSpec
from mmickd.experiments.search import Search, Trial, open_storage
from mmickd.experiments.training_log import curve
from mmickd.experiments.tuning_table import Row
from mmickd.utils.digest import digest

STORAGE = "study.journal"
FIRST_SEED = 100
"""Of the trials: a report takes 0, 1, 2, so it is of other runs than those that were chosen by."""


class Tuning:
    """Which runs the trials of some methods need, and what came out.

    Args:
        methods: each gets the same number of trials.
        metric: key in the log; more is better.
        out: an existing folder, of all runs.
        seeds: how many runs a trial is.
        select: options by which the runs validate on data to choose by.
        search_seed: of the search.
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
        self.metric, self._title = metric, Path(methods[0].trainee.config).stem
        self._seeds = range(FIRST_SEED, FIRST_SEED + seeds)
        self._trainings = RunLayout(self._plan(methods, select), out, self._seeds, (), quick=False)
        storage = open_storage(out / STORAGE)
        given = [metric, seeds, list(select), search_seed]
        self._searches = {
            method: Search(
                storage, method.name, method.ranges, search_seed,
                digest([*given, method.content, [vars(one) for one in method.ranges]]),
            )
            for method in methods
        }  # fmt: skip

    def _plan(self, methods: Sequence[Method], select: Sequence[str]) -> Plan:
        return Plan(
            title=self._title,
            metric=self.metric,
            shown=self.metric,
            reference="",
            against=(),
            options=(),
            teacher=None,
            teacher_seed=None,
            paired=False,
            students=tuple(method.trainee for method in methods),
            select_seeds=tuple(self._seeds),
            select_options=tuple(select),
            data=None,
        )

    def rounds(self, trials: int, at_a_time: int) -> Iterator[list[Job]]:
        """Runs of the trials that are asked for next; the next round once all of them ended.

        Args:
            trials: of each method.
            at_a_time: of each method in a round.
        """
        while True:
            asked = [
                (method, trial)
                for method, search in self._searches.items()
                for trial in search.ask(trials, at_a_time)
            ]
            if not asked:
                return
            yield [run.job for method, trial in asked for run in self._runs(method, trial)]
            for method, trial in asked:
                records = self._records(method, trial)
                values = self._values(records)
                search = self._searches[method]
                search.tell(trial.number, fmean(values) if values else None, records)

    def has_results(self) -> bool:
        """Whether any trial came to something, in this command or before it."""
        return any(one.value is not None for s in self._searches.values() for one in s.told())

    def _runs(self, method: Method, trial: Trial) -> list[RunSpec]:
        setting = Setting(str(trial.number), trial.options)
        return [self._trainings.trial(method.trainee, setting, seed) for seed in self._seeds]

    def _records(self, method: Method, trial: Trial) -> list[dict[str, Any]]:
        """Return the records of a trial's finished runs, from their folders."""
        done = (run for run in self._runs(method, trial) if run.job.duration() is not None)
        return [
            record(run, self._title, self.metric, curve(run.job.folder, self.metric))
            for run in done
        ]

    def _values(self, records: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return the last metric of each run of a trial; none if a run failed."""
        values = [entry["last"] for entry in records]
        return values if len(values) == len(self._seeds) else []

    def rows(self) -> list[Row]:
        """What each method came to."""
        rows = []
        for method, search in self._searches.items():
            told = search.told()
            done = sorted((one for one in told if one.value is not None), key=_rank)
            best = done[0] if done else None
            values = tuple(self._values(best.records)) if best else ()
            first = next((one.value for one in told if one.number == 0), None)
            rows.append(
                Row(
                    name=method.name,
                    trials=len(told),
                    failed=len(told) - len(done),
                    as_is=first if all(one.holds_now for one in method.ranges) else None,
                    best=best.number if best else None,
                    values=values,
                    config=method.trainee.config,
                    options=(*method.trainee.options, *best.options) if best else (),
                    searched=tuple(one.name for one in method.ranges),
                )
            )
        return rows

    def trials(self) -> list[dict[str, Any]]:
        """Each trial that was told, for JSON."""
        return [
            dict(name=method.name, number=one.number, value=one.value, options=list(one.options))
            for method, search in self._searches.items()
            for one in search.told()
        ]

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all finished runs of reported trials, for ``results.jsonl``."""
        searches = self._searches.values()
        return [e for search in searches for trial in search.told() for e in trial.records]


def _rank(trial: Trial) -> tuple[float, int]:
    assert trial.value is not None
    return -trial.value, trial.number
