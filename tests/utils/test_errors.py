"""The errors that a user reads without a traceback."""

import pickle

import pytest

from mmickd.utils.errors import ICKDError, OptionError


def test_both_are_value_errors_and_caught_as_one_kind():
    assert issubclass(OptionError, ICKDError) and issubclass(ICKDError, ValueError)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), ("0", "'0'"), (None, "None"), ([1], "[1]"), ("a'b", '"a\'b"')]
)
def test_an_option_error_tells_text_from_numbers(value, shown):
    error = OptionError("temperature", value, "it must be positive.")
    assert str(error) == f"temperature={shown}: it must be positive."
    assert (error.name, error.value, error.needed) == ("temperature", value, "it must be positive.")


def test_the_name_grows_from_the_inside_and_the_error_stays_as_it_is():
    error = OptionError("value", -1, "it must not be negative.")
    outer = error.inside("loss_weight").inside("kd").inside("losses")
    assert str(outer) == "losses.kd.loss_weight.value=-1: it must not be negative."
    assert outer.name == "losses.kd.loss_weight.value" and outer.value == -1
    assert error.name == "value" and isinstance(outer, OptionError)


def test_an_option_error_comes_whole_out_of_another_process():
    error = pickle.loads(pickle.dumps(OptionError("size", 0, "it must be positive.")))
    assert str(error) == "size=0: it must be positive."
    assert (error.name, error.value, error.needed) == ("size", 0, "it must be positive.")
