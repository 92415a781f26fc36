"""A comparison: its runs in rounds, and what came out of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mmickd.experiments.halving import better_half
from mmickd.experiments.jobs import Job
from mmickd.experiments.plan import Entry, Plan, Setting, read_plan
from mmickd.experiments.published import sources
from mmickd.experiments.records import record
from mmickd.experiments.runs import RunLayout, RunSpec
from mmickd.experiments.table import (
    Row,
    SeedResults,
    as_markdown,
    make_rows,
    missing_note,
    note,
    selection_note,
)
from mmickd.experiments.training_log import curve, validations


class Comparison:
    """Which runs a plan needs, round by round, and their results.

    Args:
        plan: what to compare.
        trainings: lays out its runs.
        seeds: of the report.
    """

    def __init__(self, plan: Plan, trainings: RunLayout, seeds: Sequence[int]) -> None:
        self.plan, self.seeds, self._trainings = plan, tuple(seeds), trainings
        self._settings = {student: list(student.settings) for student in plan.students}
        self._records: dict[tuple[RunSpec, float | None], dict[str, Any]] = {}

    def rounds(self) -> Iterator[list[Job]]:
        """Runs that can be told so far; the next round once all of them are done.

        With a selection, first the trials: all settings with its first seed, the better half of
        them with the next one too, and so on. Then what is reported.
        """
        for number, seed in enumerate(self.plan.select_seeds, 1):
            racing = {s: those for s, those in self._settings.items() if len(those) > 1}
            if not racing:
                break
            trial = self._trainings.trial
            yield self._jobs(trial(s, one, seed) for s, those in racing.items() for one in those)
            tried = self.plan.select_seeds[:number]
            for student, settings in racing.items():
                scores = {one: self._scores(student, one, tried) for one in settings}
                self._settings[student] = better_half(scores)
        if self.plan.select_seeds:
            self._settings = {student: best[:1] for student, best in self._settings.items()}
        by_seed = zip(self.teachers().values(), *self.reports().values(), strict=True)
        yield self._jobs(training for seed in by_seed for training in seed)

    def _scores(self, student: Entry, setting: Setting, seeds: Sequence[int]) -> list[float]:
        runs = [self._trainings.trial(student, setting, seed) for seed in seeds]
        return [self._record(run)["last"] for run in runs]

    def _record(self, training: RunSpec) -> dict[str, Any]:
        """The record of a run; a new one where it was trained again."""
        key = training, training.job.finished()
        if key not in self._records:
            points = validations(training.job.folder, self.plan.metric)
            self._records[key] = record(training, self.plan.title, self.plan.metric, points)
        return self._records[key]

    def _jobs(self, trainings: Iterable[RunSpec]) -> list[Job]:
        """Their jobs, each once and after those that it needs."""
        found: dict[Job, None] = dict.fromkeys(
            [self._trainings.data] if self._trainings.data else []
        )
        for training in trainings:
            found.update(dict.fromkeys([*training.job.after, training.job]))
        return list(found)

    def teachers(self) -> dict[int, RunSpec]:
        """By the seed of their students."""
        return {seed: self._trainings.teacher(seed) for seed in self.seeds}

    def reports(self) -> dict[str, list[RunSpec]]:
        """The students' runs that count, by row and seed; after :meth:`rounds` if any is chosen."""
        return {
            student.name if self.plan.select_seeds else student.row(setting): [
                self._trainings.report(student, setting, seed) for seed in self.seeds
            ]
            for student, settings in self._settings.items()
            for setting in settings
        }

    def rows(self) -> list[Row]:
        """Results, from the logs of the runs."""
        teachers = list(dict.fromkeys(self.teachers().values()))
        runs = {"teacher": teachers, **self.reports()}
        outcomes = {name: self._outcome(trainings) for name, trainings in runs.items()}
        return make_rows(outcomes, self.plan.reference, self.plan.against)

    def _outcome(self, trainings: Sequence[RunSpec]) -> SeedResults:
        records = [self._record(training) for training in trainings]
        return SeedResults(
            setting=records[0]["setting"] if self.plan.select_seeds else "",
            last=tuple(one["last"] for one in records),
            best=tuple(one["best"] for one in records),
            ms=median(one["ms_per_step"] for one in records),
            published=trainings[0].trainee.published,
        )

    def as_markdown(self) -> str:
        """The table."""
        plan = self.plan
        return as_markdown(plan.title, plan.shown, self.rows(), plan.reference, plan.against)

    def note(self) -> str:
        """What the table can and cannot say."""
        trainees = (self.plan.teacher, *self.plan.students)
        of_others = sources({one.name: one.published for one in trainees if one is not None})
        texts = [self._selection(), note(len(self.seeds), self.plan.paired), of_others]
        return " ".join(filter(None, texts))

    def missing(self) -> str:
        """A sentence on the rows without a finite metric; empty if there is none."""
        return missing_note(self.rows())

    def _selection(self) -> str:
        racing = [student for student in self.plan.students if len(student.settings) > 1]
        if not self.plan.select_seeds or not racing:
            return ""
        own_data = any(map(self._trainings.validates_on_report_data, racing))
        return selection_note(len(racing[0].settings), self.plan.select_seeds, own_data)

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all finished runs, for ``results.jsonl``.

        Raises:
            ValueError: if none of them has the metric, as where its name is misspelt.
        """
        done = [run for run in self._trainings.all() if run.job.duration() is not None]
        records = [self._record(training) for training in done]
        if done and not any(entry["curve"] for entry in records):
            curve(done[0].job.folder, self.plan.metric)  # raises
        return records

    def curves(self) -> dict[str, list[list[list[float]]]]:
        """The metric over the run: by row, of each seed, points of step and value."""
        return {
            name: [self._record(training)["curve"] for training in trainings]
            for name, trainings in self.reports().items()
        }


def read_comparison(
    file: Path, out: Path, seeds: Sequence[int], options: Sequence[str] = (), quick: bool = False
) -> Comparison:
    """Read the comparison that ``file`` describes.

    Args:
        file: the description, see ``docs/comparing.md``.
        out: folder of all runs.
        seeds: of the report; a teacher for all of them takes its own ``seed``, or the first.
        options: ``--cfg-options`` of every run, after those in the file.
        quick: train a step or two only, to see everything work.

    Raises:
        ValueError: if the description is not as it must be, or its seeds for choosing are among
            ``seeds``.
    """
    plan = read_plan(file)
    both = sorted(set(plan.select_seeds) & set(seeds))
    if both:
        raise ValueError(
            f"{file}: the seeds {both} would choose settings and report them: take other ones in "
            "'select'."
        )
    return Comparison(plan, RunLayout(plan, out, seeds, options, quick), seeds)
