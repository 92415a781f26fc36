"""Who stays in the race."""

from __future__ import annotations

from mmickd.experiments.halving import better_half


def test_the_better_half_is_rounded_up_and_best_first() -> None:
    scores = {"a": [1.0, 2.0], "b": [5.0, 5.0], "c": [9.0, 0.0], "d": [4.0, 4.2], "e": [0.0, 0.0]}
    assert better_half(scores) == ["b", "c", "d"]
    assert better_half({"a": [1.0]}) == ["a"]


def test_what_is_not_finite_is_worst_wherever_it_stands() -> None:
    nan = float("nan")
    assert better_half({"x": [nan], "a": [1.0], "b": [2.0]}) == ["b", "a"]
    assert better_half({"a": [1.0], "x": [3.0, nan], "b": [2.0], "c": [3.0]}) == ["c", "b"]
    assert better_half({"a": [-float("inf")], "b": [nan]}) == ["a"]


def test_of_equal_ones_the_first_is_better() -> None:
    assert better_half({"a": [2.0], "b": [2.0], "c": [2.0]}) == ["a", "b"]
