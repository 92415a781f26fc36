"""Comparison of methods: runs in rounds, and their results as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from mmickd.experiments.jobs import Job
from mmickd.experiments.launch import Launch
from mmickd.experiments.plan import Plan
from mmickd.experiments.plots import draw_curves, draw_rows
from mmickd.experiments.runs import Record, RunLayout, RunSpec
from mmickd.experiments.scheduler import run_rounds
from mmickd.experiments.table import (
    Row,
    as_markdown,
    make_rows,
    note,
)

T = TypeVar("T")


def better_half(scores: Mapping[T, Sequence[float]]) -> list[T]:
    """Return the better half of the settings by their means, rounded up, best first.

    Args:
        scores: One number for each trial of a setting, equally many for all settings; more is
            better. A setting with a number that is not finite is last. Equal settings keep their
            order.

    Example:
        >>> better_half({"a": [1.0], "b": [3.0], "c": [2.0]})
        ['b', 'c']
    """
    means = {setting: mean(values) for setting, values in scores.items()}
    rank = {s: value if math.isfinite(value) else -math.inf for s, value in means.items()}
    return sorted(rank, key=rank.__getitem__, reverse=True)[: (len(scores) + 1) // 2]


class Comparison:
    """Runs of a plan, round by round, and their results.

    Args:
        plan: Teacher, students and options to compare.
        out: Folder of all runs.
        seeds: Seeds of the report. A common teacher of all seeds has the plan's seed of the
            teacher, or the first of these.
        options: ``--cfg-options`` of every run, after the plan's options.
        quick: True to train a step or two only, as a smoke test.

    Raises:
        ValueError: If a seed would be used both to choose settings and to report them.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        seeds: Sequence[int],
        options: Sequence[str] = (),
        quick: bool = False,
    ) -> None:
        both = sorted(set(plan.select_seeds) & set(seeds))
        if both:
            raise ValueError(
                f"the seeds {both} would choose settings and report them: take other seeds in "
                "'select'."
            )
        self.plan, self.out, self.seeds = plan, out, tuple(seeds)
        self._metric_label = plan.metric_label or plan.metric
        self._layout = RunLayout(plan, out, seeds, options, quick)
        self._settings = {student: list(student.settings) for student in plan.students}
        self._records: dict[tuple[RunSpec, int | None], Record] = {}

    def run(self, workers: int, minutes: float | None = None, launch: Launch | None = None) -> None:
        """Run all rounds, ``workers`` runs at a time; ``results.jsonl`` gets a record of each run.

        ``launch`` starts the runs; None: on this machine.

        Raises:
            JobFailed: If a run fails.
            TimeIsUp: If ``minutes`` are over before all runs are done.
        """
        run_rounds(self.rounds(), self.records, self.out, workers, minutes, launch=launch)

    def rounds(self) -> Iterator[list[Job]]:
        """Yield the jobs of each round; a round needs the results of the earlier rounds.

        With a selection, the first rounds are trials: all settings with the first seed, the better
        half of them with the next seed too, and so on. The last round is the report.
        """
        for count, seed in enumerate(self.plan.select_seeds, 1):
            undecided = {s: settings for s, settings in self._settings.items() if len(settings) > 1}
            if not undecided:
                break
            trial = self._layout.trial
            yield self._jobs(
                trial(student, setting, seed)
                for student, settings in undecided.items()
                for setting in settings
            )
            seeds = self.plan.select_seeds[:count]
            for student, settings in undecided.items():
                scores = {
                    setting: [self._record(trial(student, setting, s))["last"] for s in seeds]
                    for setting in settings
                }
                self._settings[student] = better_half(scores)
        if self.plan.select_seeds:
            self._settings = {student: best[:1] for student, best in self._settings.items()}
        by_seed = zip(self.teachers().values(), *self.reports().values(), strict=True)
        yield self._jobs(run for runs in by_seed for run in runs)

    def _jobs(self, runs: Iterable[RunSpec]) -> list[Job]:
        """Return the jobs of runs, each job once and after the jobs that it depends on."""
        jobs = dict.fromkeys([self._layout.data] if self._layout.data else [])
        for run in runs:
            jobs.update(dict.fromkeys([*run.job.after, run.job]))
        return list(jobs)

    def _record(self, run: RunSpec) -> Record:
        """Return the record of a run, which is cached until the run is trained again."""
        key = run, (run.job.stamp() or {}).get("time")
        if key not in self._records:
            self._records[key] = run.record()
        return self._records[key]

    def teachers(self) -> dict[int, RunSpec]:
        """Return the runs of the teachers, by the seed of their students."""
        return {seed: self._layout.teacher(seed) for seed in self.seeds}

    def reports(self) -> dict[str, list[RunSpec]]:
        """Return the students' runs of the report, by row and seed; after :meth:`rounds`."""
        return {
            student.name if self.plan.select_seeds else student.row(setting): [
                self._layout.report(student, setting, seed) for seed in self.seeds
            ]
            for student, settings in self._settings.items()
            for setting in settings
        }

    def rows(self) -> list[Row]:
        """Return the rows of the table, the teacher first."""
        runs = {"teacher": list(dict.fromkeys(self.teachers().values())), **self.reports()}
        records = {name: [self._record(run) for run in row] for name, row in runs.items()}
        published = {name: row[0].entry.published for name, row in runs.items()}
        return make_rows(records, self.plan.reference, self.plan.controls, published)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rows for JSON."""
        return [asdict(row) for row in self.rows()]

    def as_markdown(self) -> str:
        """Return the table."""
        plan = self.plan
        return as_markdown(
            plan.title, self._metric_label, self.rows(), plan.reference, plan.controls
        )

    def missing(self) -> str:
        """Return a sentence on the rows without a finite metric; empty if all rows have one."""
        names = [row.name for row in self.rows() if not all(map(math.isfinite, row.values))]
        if not names:
            return ""
        return f"Without a finite metric in every run, so without a mean: {', '.join(names)}."

    def note(self) -> str:
        """Return the sentences on how to read the table."""
        seeds = note(len(self.seeds), self.plan.teacher_per_seed)
        return " ".join(filter(None, [self._selection(), seeds, self._sources()]))

    def _selection(self) -> str:
        """Return a sentence on how settings were chosen."""
        undecided = [student for student in self.plan.students if len(student.settings) > 1]
        seeds = self.plan.select_seeds
        if not seeds or not undecided:
            return ""
        is_same_data = any(map(self._layout.validates_on_report_data, undecided))
        data = (
            "on the validation data of this table, so their results are optimistic"
            if is_same_data
            else "on other data than the table's"
        )
        return (
            f"For each method with settings, one of {len(undecided[0].settings)} was chosen by "
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}, {data}."
        )

    def _sources(self) -> str:
        """Return a sentence on the sources of published numbers."""
        entries = [entry for entry in (self.plan.teacher, *self.plan.students) if entry is not None]
        sources = "; ".join(
            f"{entry.name}: {entry.published.source or 'no source given'}"
            for entry in entries
            if entry.published is not None
        )
        if not sources:
            return ""
        return (
            f"Published: as the authors report it ({sources}). Compare a number of the best epoch "
            "with 'best', and a number of the last epoch with 'last'."
        )

    def records(self) -> list[Record]:
        """Return the records of all finished runs, for ``results.jsonl``.

        Raises:
            ValueError: If no run has the metric (its name may be misspelt).
        """
        done = [run for run in self._layout.all() if run.job.stamp() is not None]
        records = [self._record(run) for run in done]
        if done and not any(record["curve"] for record in records):
            done[0].check_has_metric()
        return records

    def draw(self) -> tuple[Path, Path]:
        """Draw the rows and the curves; return the two files."""
        plan, files = self.plan, (self.out / "rows.png", self.out / "curves.png")
        runs = {name: [self._record(run) for run in row] for name, row in self.reports().items()}
        curves = {name: [record["curve"] for record in records] for name, records in runs.items()}
        unit = self.records()[-1]["unit"]
        draw_rows(files[0], plan.title, self._metric_label, self.rows())
        draw_curves(files[1], plan.title, self._metric_label, unit, curves)
        return files
