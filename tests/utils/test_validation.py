"""Checking what a config says."""

import math

import numpy as np
import pytest
from mmengine.config import ConfigDict

from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import (
    check_choice,
    check_dict,
    check_flag,
    check_integer,
    check_names,
    check_number,
    parameters_of,
)


def test_check_names():
    check_names(["a"], ["a", "b"], "x")
    with pytest.raises(ICKDError, match=r"x has no option 'tempature': did you mean 'temperature'"):
        check_names(["tempature"], ["temperature", "loss_weight"], "x")
    with pytest.raises(ICKDError, match="it takes a, b"):
        check_names(["zzz"], iter(["a", "b"]), "x")
    with pytest.raises(ICKDError, match="no option 3"):
        check_names([3], ["a"], "x")


def test_check_dict():
    given = ConfigDict(a=1)
    got = check_dict(given, "x", ["a"])
    assert got == {"a": 1} and got is not given
    assert check_dict(None, "x") == {}
    for wrong in ([], "a", 3):
        with pytest.raises(ICKDError, match="x must be a dict"):
            check_dict(wrong, "x", ["a"])


@pytest.mark.parametrize("wrong", [0, -1, True, 1.0, "1", None, [1]])
def test_check_integer(wrong):
    check_integer(1, 1, "n")
    check_integer(None, 1, "n", none=True)
    with pytest.raises(ICKDError, match=r"n=.*integer of at least 1"):
        check_integer(wrong, 1, "n")


@pytest.mark.parametrize("wrong", [0, -1.5, True, "1", None, math.nan, math.inf, [1], np.ones(2)])
def test_check_number(wrong):
    for right in (1, 0.5):
        check_number(right, "t", above=0, most=1)
    check_number(math.inf, "t", above=0, infinite=True)
    check_number(1, "t", least=1)
    with pytest.raises(OptionError, match=r"^t=.*it must be a positive number\.$"):
        check_number(wrong, "t", above=0)
    with pytest.raises(OptionError, match=r"it must be a number in \(0, 0\.5\]\.$"):
        check_number(1, "t", above=0, most=0.5)
    with pytest.raises(OptionError, match=r"it must be a number of at least 2\.$"):
        check_number(1, "t", least=2)


@pytest.mark.parametrize("wrong", ["no", "yes", "", 1, 0, 1.0, None, [], np.bool_(True)])
def test_check_flag(wrong):
    check_flag(True, "f")
    check_flag(False, "f")
    with pytest.raises(OptionError, match="it must be one of True, False"):
        check_flag(wrong, "f")


def test_an_option_error_takes_the_name_of_what_it_is_in():
    with pytest.raises(OptionError) as caught:
        check_integer(0, 1, "num_positives")
    assert str(caught.value.inside("picd").inside("losses")).startswith(
        "losses.picd.num_positives=0: it must be"
    )


def test_check_choice():
    check_choice("a", ("a", None), "c")
    check_choice(None, ("a", None), "c")
    with pytest.raises(
        ICKDError, match=r"c='pixl': it must be one of image, pixel\. Did you mean 'pixel'"
    ):
        check_choice("pixl", ("image", "pixel"), "c")
    with pytest.raises(ICKDError, match="one of image"):
        check_choice([1], ("image",), "c")


def test_parameters_of():
    class Thing:
        def __init__(self, a, b=2, *rest, **others):
            pass

    assert parameters_of(Thing) == ["a", "b"]
