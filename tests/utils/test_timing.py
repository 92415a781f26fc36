"""Time that a part of the step takes."""

import time

import torch

from mmickd.utils.timing import Stopwatch


def test_stopwatch_adds_up_and_forgets():
    watch = Stopwatch()
    assert watch.collect() == 0
    for _ in range(2):
        with watch.timed(torch.device("cpu")):
            time.sleep(0.01)
    assert 0.02 <= watch.collect() < 2
    assert watch.collect() == 0
