"""Settings that are asked for: the same ones for a seed, whatever stops the search in between."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmickd.experiments.search import Search, Trial, import_optuna, open_storage
from mmickd.experiments.search_space import Range
from mmickd.utils.errors import ICKDError

RANGES = [
    Range("kd.loss_weight", "w", 0.1, 10.0, 1.0),
    Range("nicd.num_negatives", "n", 2, 64, 8, whole=True),
]


def search(file: Path, seed: int = 0, mark: str = "mark") -> Search:
    return Search(open_storage(file), "method", RANGES, seed, mark)


def value(trial: Trial) -> float:
    """Best where the weight is 3."""
    return -abs(float(trial.options[0].partition("=")[2]) - 3)


def finish(one: Search, trials: int, at_a_time: int = 2) -> list[Trial]:
    while asked := one.ask(trials, at_a_time):
        for trial in asked:
            one.tell(trial.number, value(trial))
    return one.told()


@pytest.fixture(autouse=True)
def optuna() -> None:
    pytest.importorskip("optuna")


def test_a_seed_gives_the_same_settings(tmp_path: Path) -> None:
    first = finish(search(tmp_path / "a"), 14)
    assert finish(search(tmp_path / "b"), 14) == first
    assert finish(search(tmp_path / "c", seed=1), 14)[1:] != first[1:]
    assert len({one.options for one in first}) == 14


def test_the_first_trial_is_the_config_as_it_is(tmp_path: Path) -> None:
    assert finish(search(tmp_path / "a"), 1)[0].options == ("w=1", "n=8")


def test_it_learns_what_is_better(tmp_path: Path) -> None:
    trials = finish(search(tmp_path / "a"), 40)
    early, late = ([value(one) for one in part] for part in (trials[1:11], trials[30:]))
    assert sum(late) > sum(early)


def test_stopped_anywhere_it_asks_for_the_same(tmp_path: Path) -> None:
    # the first ten do not look at those before them
    expected = finish(search(tmp_path / "whole"), 16)
    file = tmp_path / "stopped"
    while True:  # as if each of its calls were the last of a process
        open_ones = search(file).ask(16, 2)
        if not open_ones:
            break
        assert search(file).ask(16, 2) == open_ones
        search(file).tell(open_ones[0].number, value(open_ones[0]))
    assert search(file).told() == expected


def test_a_kill_in_the_midst_of_asking_leaves_a_trial_to_go_on_with(tmp_path: Path) -> None:
    file = tmp_path / "study"
    finish(search(file), 3, 1)
    search(file)._study.ask()  # and none of its values
    (trial,) = search(file).ask(5, 1)
    assert trial.number == 3 and len(trial.options) == 2
    assert search(file).ask(5, 1) == [trial]


def test_more_trials_go_on(tmp_path: Path) -> None:
    file = tmp_path / "study"
    first = finish(search(file), 2)
    assert finish(search(file), 5)[:2] == first
    assert len(search(file).told()) == 5 and search(file).ask(5, 2) == []


def test_a_failed_trial_counts_and_has_no_value(tmp_path: Path) -> None:
    one = search(tmp_path / "study")
    for told in (None, float("nan"), 3.0):
        (trial,) = one.ask(3, 1)
        one.tell(trial.number, told)
    assert [trial.value for trial in one.told()] == [None, None, 3.0]
    assert one.ask(3, 1) == []


def test_a_search_of_something_else_is_refused(tmp_path: Path) -> None:
    finish(search(tmp_path / "study"), 1)
    with pytest.raises(ICKDError, match=r"tuning of something else.*Take another --out"):
        search(tmp_path / "study", mark="other")


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ICKDError, match=r'pip install "mmickd\[tune\]"'):
        import_optuna()
