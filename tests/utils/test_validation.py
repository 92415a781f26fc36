"""Checking what a config says."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import (
    check_choice,
    check_dict,
    check_flag,
    check_integer,
    check_names,
    check_number,
    check_path,
    check_path_or_url,
    nearest,
    parameters_of,
)

HUGE = pytest.param(10**5000, id="huge")  # Python refuses to print it


def test_check_names():
    check_names(["a"], ["a", "b"], "x")
    with pytest.raises(ICKDError, match=r"x has no option 'tempature': did you mean 'temperature'"):
        check_names(["tempature"], ["temperature", "loss_weight"], "x")
    with pytest.raises(ICKDError, match="it takes a, b"):
        check_names(["zzz"], iter(["a", "b"]), "x")
    with pytest.raises(ICKDError, match="no option 3"):
        check_names([3], ["a"], "x")


def test_check_dict():
    value = ConfigDict(a=1)
    result = check_dict(value, "x", ["a"])
    assert result == {"a": 1} and result is not value
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


def test_an_option_error_names_the_enclosing_options():
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


@pytest.mark.parametrize("wrong", [2**32, 10**400, HUGE])
def test_an_integer_that_is_too_large(wrong):
    check_integer(2**32 - 1, 0, "n")
    check_integer(4, 0, "n", most=4)
    with pytest.raises(OptionError, match=r"^n=.*it must be an integer of at most 4294967295"):
        check_integer(wrong, 0, "n")
    with pytest.raises(OptionError, match="it must be an integer of at most 4 or None"):
        check_integer(5, 0, "n", none=True, most=4)


@pytest.mark.parametrize("wrong", [1e-320, 1e-13, 1e13, 10**400, 1e300])
def test_a_number_that_overflows_float32(wrong):
    with pytest.raises(OptionError, match=r"^t=.*it must lie between 1e-12 and 1e\+12\."):
        check_number(wrong, "t", above=0)


def test_a_number_that_is_no_divisor_may_be_tiny():
    check_number(1e-300, "weight", least=0)
    check_number(1e12, "weight", least=0)


@pytest.mark.parametrize("wrong", [np.ones(2), torch.ones(2), [1] * 10**6, HUGE, object()])
def test_values_that_cannot_be_compared(wrong):
    for refuse in (
        lambda: check_integer(wrong, 0, "n"),
        lambda: check_choice(wrong, ("a", None), "c"),
        lambda: check_flag(wrong, "f"),
        lambda: check_path(wrong, "p", "it must be a path."),
        lambda: check_dict(wrong, "d"),
        lambda: check_names([wrong], ["a"], "x") if wrong.__hash__ else check_dict(wrong, "d"),
    ):
        with pytest.raises(ICKDError) as caught:
            refuse()
        assert len(str(caught.value)) < 400


def test_check_path(tmp_path):
    for right in ("a", "~/a b", tmp_path, "é", "a" * 999):
        check_path(right, "p", "it must be a path.")
    for wrong in ("", "a\0b", "\ud800", b"a", 3, None, ["a"]):
        with pytest.raises(OptionError, match=r"^p=.*: it must be a path\.$"):
            check_path(wrong, "p", "it must be a path.")


def test_check_path_or_url():
    for right in ("a.pth", Path("a.pth"), "https://host/a.pth"):
        check_path_or_url(right, "s")
    for wrong in ("http://[", "", 3, None):
        with pytest.raises(OptionError, match=r"^s=.*: it must be a path or a URL\.$"):
            check_path_or_url(wrong, "s")


def test_nearest():
    assert nearest("pixl", ["image", "pixel"]) == "pixel"
    assert nearest("zzz", ["image"]) is None and nearest(3, ["3"]) is None


def test_parameters_of():
    class Thing:
        def __init__(self, a, b=2, *args, **kwargs):
            pass

    assert parameters_of(Thing) == ["a", "b"]
