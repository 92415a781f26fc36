"""Settings of a search: the same for a seed, however often the search is stopped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmickd.experiments.search import Search, Trial, import_optuna
from mmickd.experiments.search_space import Range
from mmickd.utils.errors import ICKDError

RANGES = [
    Range("kd.loss_weight", "w", 0.1, 10.0, 1.0),
    Range("nicd.num_negatives", "n", 2, 64, 8, whole=True),
]


def search(file: Path, seed: int = 0, mark: str = "mark") -> Search:
    return Search(file, "method", RANGES, seed, mark)


def value(trial: Trial) -> float:
    """Return a result that is best where the weight is 3."""
    return -abs(float(trial.options[0].partition("=")[2]) - 3)


def finish(of: Search, trials: int, at_a_time: int = 2) -> list[Trial]:
    while round_ := of.next_trials(trials, at_a_time):
        for trial in round_:
            of.report(trial.number, value(trial))
    return of.finished_trials()


@pytest.fixture(autouse=True)
def optuna() -> None:
    pytest.importorskip("optuna")


def test_a_seed_gives_the_same_settings(tmp_path: Path) -> None:
    first = finish(search(tmp_path / "a"), 14)
    assert finish(search(tmp_path / "b"), 14) == first
    assert finish(search(tmp_path / "c", seed=1), 14)[1:] != first[1:]
    assert len({trial.options for trial in first}) == 14


def test_the_first_trial_is_the_config_as_it_is(tmp_path: Path) -> None:
    assert finish(search(tmp_path / "a"), 1)[0].options == ("w=1", "n=8")


def test_later_trials_are_better(tmp_path: Path) -> None:
    trials = finish(search(tmp_path / "a"), 40)
    early, late = ([value(trial) for trial in part] for part in (trials[1:11], trials[30:]))
    assert sum(late) > sum(early)


def test_stopped_anywhere_it_has_the_same_trials(tmp_path: Path) -> None:
    # the first ten are drawn at random
    expected = finish(search(tmp_path / "whole"), 16)
    file = tmp_path / "stopped"
    while True:  # as if each of its calls were the last of a process
        trials = search(file).next_trials(16, 2)
        if not trials:
            break
        assert search(file).next_trials(16, 2) == trials
        search(file).report(trials[0].number, value(trials[0]))
    assert search(file).finished_trials() == expected


def test_a_trial_without_values_after_a_kill_gets_them(tmp_path: Path) -> None:
    file = tmp_path / "study"
    finish(search(file), 3, 1)
    search(file)._study.ask()  # and none of its values
    (trial,) = search(file).next_trials(5, 1)
    assert trial.number == 3 and len(trial.options) == 2
    assert search(file).next_trials(5, 1) == [trial]


def test_more_trials_continue_the_search(tmp_path: Path) -> None:
    file = tmp_path / "study"
    first = finish(search(file), 2)
    assert finish(search(file), 5)[:2] == first
    assert len(search(file).finished_trials()) == 5 and search(file).next_trials(5, 2) == []


def test_a_failed_trial_counts_and_has_no_value(tmp_path: Path) -> None:
    study = search(tmp_path / "study")
    for result in (None, float("nan"), 3.0):
        (trial,) = study.next_trials(3, 1)
        study.report(trial.number, result)
    assert [trial.value for trial in study.finished_trials()] == [None, None, 3.0]
    assert study.next_trials(3, 1) == []


def test_a_search_of_something_else_is_refused(tmp_path: Path) -> None:
    finish(search(tmp_path / "study"), 1)
    with pytest.raises(ICKDError, match="--out"):
        search(tmp_path / "study", mark="other")


def test_the_message_without_optuna_has_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ICKDError, match=r"mmickd\[tune\]"):
        import_optuna()
