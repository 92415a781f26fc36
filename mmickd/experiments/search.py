"""A search that goes on where it was stopped: optuna's study in a file."""

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
"""Attribute of a trial in optuna's study."""


@dataclass(frozen=True)
class Trial:
    """A setting that was asked for.

    Args:
        number: from 0.
        options: as in ``--cfg-options``.
        value: what it came to; None while it is not done, and where it failed.
        is_open: whether nobody has told yet what it came to.
        records: lines of ``results.jsonl``, one for each of its runs that is done.
    """

    number: int
    options: tuple[str, ...]
    value: float | None = None
    is_open: bool = True
    records: list[dict[str, Any]] = field(default_factory=list)


def import_optuna() -> Any:
    """The package.

    Raises:
        ICKDError: if it is not installed.
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


def open_storage(file: Path) -> Any:
    """Optuna's storage in a file, which may be there."""
    optuna = import_optuna()
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    return optuna.storages.JournalStorage(backend)


class Search:
    """Settings for the trials of one method; more of what they come to is better.

    Which settings it asks for follows from the seed, the ranges, how many trials run at a time and
    what was told, however often it is stopped in between. The first trial is the config as it is.

    Args:
        storage: of :func:`open_storage`; several searches may share it.
        name: of the method.
        ranges: what is searched.
        seed: of the search.
        mark: of all that decides what a trial comes to.

    Raises:
        ICKDError: if the storage has a search of that name with another mark.
    """

    def __init__(
        self, storage: Any, name: str, ranges: Sequence[Range], seed: int, mark: str
    ) -> None:
        self._optuna, self._ranges, self._seed = import_optuna(), ranges, seed
        self._storage = storage
        self._study = self._optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        known = self._study.user_attrs.get("mark", mark)
        if known != mark:
            raise ICKDError(
                "--out has a tuning of something else: its config, ranges, seeds, metric or "
                "options for choosing differ. Take another --out, or delete that folder."
            )
        self._study.set_user_attr("mark", mark)
        if not self._study.trials:
            self._study.enqueue_trial({one.name: one.now for one in ranges if one.holds_now})

    def ask(self, trials: int, at_a_time: int) -> list[Trial]:
        """The trials to run next; none once there are enough.

        A round that was begun is asked for again until all of it was told: each round is chosen
        with all of those before it at hand, and no more.

        Args:
            trials: that there shall be.
            at_a_time: trials of a round.
        """
        waiting = self._optuna.trial.TrialState.WAITING
        asked = [one for one in self._study.trials if one.state != waiting]
        # a kill in the midst of asking leaves one that lacks some of its values
        running = [one for one in asked if not one.state.is_finished()]
        found = [self._values(one.number, one._trial_id) for one in running]
        count = len(asked)
        while count < trials and (not found or count % at_a_time):
            found.append(self._values(count))
            count += 1
        return [Trial(number, self._options(values)) for number, values in found]

    def _values(self, number: int, known: int | None = None) -> tuple[int, dict[str, float]]:
        """A trial's number and values; a sampler for each, so that none depends on a stop."""
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
        trial = self._study.ask() if known is None else self._optuna.trial.Trial(self._study, known)
        return number, {
            one.name: (trial.suggest_int if one.whole else trial.suggest_float)(
                one.name, *_ends(one), log=one.log
            )
            for one in self._ranges
        }

    def _options(self, values: Mapping[str, float]) -> tuple[str, ...]:
        return tuple(one.option(values[one.name]) for one in self._ranges)

    def tell(
        self, number: int, value: float | None, records: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Store the result of a trial.

        Args:
            number: of the trial.
            value: more is better; None, or not finite: it failed.
            records: lines of ``results.jsonl`` for its runs. They are stored with the trial, as the
                folders of its runs may be deleted later.
        """
        trial_id = self._study.trials[number]._trial_id
        self._storage.set_trial_user_attr(trial_id, RECORDS, list(records))
        if value is None or not math.isfinite(value):
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def told(self) -> list[Trial]:
        """Those that were told, by number."""
        return [
            Trial(
                one.number, self._options(one.params), one.value,
                is_open=False, records=one.user_attrs.get(RECORDS, []),
            )
            for one in self._study.trials
            if one.state.is_finished()
        ]  # fmt: skip


def _ends(one: Range) -> tuple[float, float]:
    return (int(one.low), int(one.high)) if one.whole else (one.low, one.high)
