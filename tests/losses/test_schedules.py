"""Schedules of weights over a run."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmickd.losses.schedules import TrainProgress, WeightSchedule
from mmickd.utils.errors import ICKDError


def test_a_number_is_constant():
    schedule = WeightSchedule(0.3)
    assert [schedule.at(t, 100) for t in (0, 1, 99, 1e9)] == [0.3] * 4


def test_begin_and_end():
    schedule = WeightSchedule(value=2.0, begin=10, end=20)
    assert [schedule.at(t, 100) for t in (0, 9, 10, 19, 20, 99)] == [0, 0, 2, 2, 0, 0]


def test_warmup_is_linear():
    schedule = WeightSchedule(value=4.0, begin=2, warmup=4)
    assert [schedule.at(t, 100) for t in range(2, 9)] == [0, 1, 2, 3, 4, 4, 4]
    assert schedule.at(1, 100) == 0


def test_linear_decay_ends_with_the_run_or_at_end():
    assert WeightSchedule(value=1.0, decay="linear").at(25, 100) == 0.75
    assert WeightSchedule(value=1.0, decay="linear", end=50).at(25, 100) == 0.5
    kept = WeightSchedule(value=1.0, decay="linear", end_value=0.5, begin=20, warmup=10)
    assert kept.at(65, 100) == 0.75  # half of the way from 30 to 100
    assert kept.at(100, 100) == 0.5
    assert kept.at(300, 100) == 0.5  # beyond the run's length: no extrapolation


def test_cosine_decay():
    schedule = WeightSchedule(value=2.0, decay="cosine", end_value=1.0)
    assert schedule.at(0, 100) == 2.0
    assert schedule.at(50, 100) == pytest.approx(1.5)
    assert schedule.at(25, 100) == pytest.approx(1 + (1 + math.cos(math.pi / 4)) / 2)
    assert schedule.at(100, 100) == 1.0


def test_a_run_shorter_than_the_warmup():
    schedule = WeightSchedule(value=1.0, warmup=10, decay="cosine")
    assert schedule.at(4, 5) == 0.4
    assert schedule.at(12, 5) == 0.0


def test_fractional_epochs():
    schedule = WeightSchedule(value=1.0, begin=0.5, warmup=1, by_epoch=True)
    assert [schedule.at(t, 3) for t in (0.25, 0.5, 1.0, 1.5)] == [0, 0, 0.5, 1]


@given(
    value=st.floats(0, 10),
    begin=st.integers(0, 20),
    warmup=st.integers(0, 20),
    length=st.integers(1, 100),
    decay=st.sampled_from([None, "linear", "cosine"]),
    share=st.floats(0, 1),
    time=st.integers(0, 120),
)
def test_never_outside_of_its_bounds(value, begin, warmup, length, decay, share, time):
    end_value = value * share
    schedule = WeightSchedule(value, begin, None, warmup, decay, end_value)
    assert 0 <= schedule.at(time, length) <= value + 1e-12
    if time >= begin + warmup:
        assert schedule.at(time, length) >= end_value - 1e-12


@given(begin=st.integers(0, 9), warmup=st.integers(1, 9), time=st.integers(0, 40))
def test_falls_after_the_warmup_and_rises_in_it(begin, warmup, time):
    for decay in ("linear", "cosine"):
        schedule = WeightSchedule(1.0, begin, None, warmup, decay)
        now, then = schedule.at(time, 40), schedule.at(time + 1, 40)
        if time + 1 <= begin + warmup:
            assert then >= now
        else:
            assert then <= now


def test_stepwise_keeps_the_value_that_an_epoch_ends_with():
    """Epochs numbered from 1: the weight of epoch t of T is value * t / T."""
    schedule = WeightSchedule(0.8, warmup=4, by_epoch=True, stepwise=True)
    weights = [schedule.at(time / 3, 4) for time in range(12)]
    assert weights == [0.8 * (1 + time // 3) / 4 for time in range(12)]
    falls = WeightSchedule(1.0, decay="linear", stepwise=True)
    assert [falls.at(time, 4) for time in range(4)] == [0.75, 0.5, 0.25, 0.0]
    waits = WeightSchedule(1.0, begin=2, end=3, by_epoch=True, stepwise=True)
    assert [waits.at(time / 2, 9) for time in range(2, 8)] == [0, 0, 1, 1, 0, 0]


def test_time_of_a_run():
    time = TrainProgress(iteration=7, max_iterations=20, epoch_length=4)
    assert time.measured(by_epoch=False) == (7, 20)
    assert time.measured(by_epoch=True) == (1.75, 5)
    assert time.ends_epoch
    assert not TrainProgress(8, 20, 4).ends_epoch


def test_is_off():
    assert WeightSchedule(0.0).is_off and WeightSchedule(0.0, decay="linear").is_off
    assert not WeightSchedule(0.1, begin=1000).is_off
    assert not WeightSchedule(0.0, decay="linear", end_value=1.0).is_off


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(value=-1), "value=-1"),
        (dict(value=math.nan), "value=nan"),
        (dict(value=math.inf), "value=inf"),
        (dict(value=True), "value=True"),
        (dict(value="1"), "value='1'"),
        (dict(begin=-1), "begin=-1"),
        (dict(warmup=None), "warmup=None"),
        (dict(end_value=-0.1), "end_value=-0.1"),
        (dict(decay="exp"), "decay='exp'"),
        (dict(begin=5, warmup=5, end=9), "end=9"),
        (dict(end="late"), "end='late'"),
        (dict(end=math.nan), "end=nan"),
        (dict(end=True), "end=True"),
        (dict(by_epoch=1), "by_epoch=1"),
    ],
)
def test_bad_options_name_the_weight(options, message):
    with pytest.raises(ICKDError, match=rf"^losses\.kd\.loss_weight\.{message}: it must be"):
        WeightSchedule(**options, name="losses.kd.loss_weight")


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (dict(value=2.0), False),
        (dict(value=2.0, decay="linear", end_value=2.0), False),
        (dict(value=0.0, warmup=5), False),
        (dict(value=2.0, begin=1), True),
        (dict(value=2.0, warmup=1), True),
        (dict(value=2.0, end=5), True),
        (dict(value=2.0, decay="cosine"), True),
        (dict(value=0.0, decay="linear", end_value=1.0), True),
    ],
)
def test_whether_a_weight_changes(options: dict[str, Any], changes: bool) -> None:
    schedule = WeightSchedule(**options)
    assert schedule.changes is changes
    assert (len({schedule.at(time, 8) for time in range(8)}) > 1) is changes
