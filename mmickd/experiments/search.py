"""Search by optuna that can be resumed: its study is a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmickd.experiments.search_space import Range
from mmickd.utils.errors import ICKDError

RECORDS = "records"
"""Attribute of a trial in optuna's study: the records of its runs."""


@dataclass(frozen=True)
class Trial:
    """Setting of a search, with its result."""

    number: int  # from 0
    options: tuple[str, ...]  # as in ``--cfg-options``
    value: float | None = None  # None if the trial is not finished, or failed
    records: list[dict[str, Any]] = field(default_factory=list)  # one for each finished run


def import_optuna() -> Any:
    """Return the package optuna.

    Raises:
        ICKDError: If optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ICKDError(
            'mmickd tune needs optuna, which is not installed: pip install "mmickd[tune]" (in a '
            "clone: pip install optuna)."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Search:
    """Search for the best setting of a method by trials; a larger result is better.

    The settings depend on the seed, the ranges, the number of trials at a time and the results, but
    not on interruptions of the search. The first trial is the unchanged config.

    Args:
        file: File of optuna's journal, which several searches may share; it is created if missing.
        name: Name of the method.
        ranges: Ranges to search.
        seed: Seed of the search.
        mark: Digest of all that decides the result of a trial.

    Raises:
        ICKDError: If the file has a search of this name with another mark.
    """

    def __init__(
        self, file: Path, name: str, ranges: Sequence[Range], seed: int, mark: str
    ) -> None:
        self._optuna, self._ranges, self._seed = import_optuna(), ranges, seed
        storages = self._optuna.storages
        self._storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(file)))
        self._study = self._optuna.create_study(
            storage=self._storage, study_name=name, direction="maximize", load_if_exists=True
        )
        if self._study.user_attrs.get("mark", mark) != mark:
            raise ICKDError(
                "--out has another tuning, whose config, ranges, seeds, metric or --select-options "
                "differ. Set another --out, or delete that folder."
            )
        self._study.set_user_attr("mark", mark)
        if not self._study.trials:
            self._study.enqueue_trial({r.name: r.now for r in ranges if r.holds_now})

    def next_trials(self, trials: int, at_a_time: int) -> list[Trial]:
        """Return the trials of the next round; empty after the last round.

        The search has ``trials`` trials, a round has ``at_a_time``. A round is returned again until
        all of its trials are finished, as the settings of a round depend on all earlier rounds.
        """
        waiting = self._optuna.trial.TrialState.WAITING
        begun = [trial for trial in self._study.trials if trial.state != waiting]
        # a kill during this method may leave a trial without some of its values
        round_ = [self._suggest(t.number, t._trial_id) for t in begun if not t.state.is_finished()]
        count = len(begun)
        while count < trials and (not round_ or count % at_a_time):
            round_.append(self._suggest(count))
            count += 1
        return round_

    def _suggest(self, number: int, trial_id: int | None = None) -> Trial:
        """Return a trial with its values; it has a new sampler, so that a stop changes nothing."""
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
        if trial_id is None:
            trial = self._study.ask()
        else:
            trial = self._optuna.trial.Trial(self._study, trial_id)
        for r in self._ranges:
            if r.whole:
                trial.suggest_int(r.name, int(r.low), int(r.high), log=r.log)
            else:
                trial.suggest_float(r.name, r.low, r.high, log=r.log)
        return Trial(number, self._options(trial.params))

    def _options(self, values: Mapping[str, float]) -> tuple[str, ...]:
        return tuple(r.option(values[r.name]) for r in self._ranges)

    def report(
        self, number: int, value: float | None, records: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Store the result of a trial; the trial failed if the value is None or not finite.

        The records of the runs are stored too, as the folders of the runs may be deleted later.
        """
        trial_id = self._study.trials[number]._trial_id
        self._storage.set_trial_user_attr(trial_id, RECORDS, list(records))
        if value is None or not math.isfinite(value):
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def finished_trials(self) -> list[Trial]:
        """Return the trials with a reported result, by number."""
        return [
            Trial(
                trial.number,
                self._options(trial.params),
                trial.value,
                trial.user_attrs.get(RECORDS, []),
            )
            for trial in self._study.trials
            if trial.state.is_finished()
        ]
