"""The errors that a user reads without a traceback."""

import pickle

import pytest

from mmickd.utils.errors import LONGEST_LINE, ICKDError, OptionError


def test_both_are_value_errors_and_caught_as_one_kind():
    assert issubclass(OptionError, ICKDError) and issubclass(ICKDError, ValueError)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), ("0", "'0'"), (None, "None"), ([1], "[1]"), ("a'b", '"a\'b"')]
)
def test_an_option_error_tells_text_from_numbers(value, shown):
    error = OptionError("temperature", value, "it must be positive.")
    assert str(error) == f"temperature={shown}: it must be positive."
    assert (error.name, error.value, error.needed) == ("temperature", value, "it must be positive.")


def test_whatever_a_message_quotes_it_is_printable_and_short():
    error = ICKDError("no file " + "\x1b[1m" + "a" * 9000 + " here.\nGive\tanother.")
    assert str(error).isprintable() and len(str(error)) <= LONGEST_LINE
    assert str(error).startswith("no file \\x1b[1maaa") and str(error).endswith("Give another.")


def test_lines_below_a_message_stay_lines():
    error = pickle.loads(pickle.dumps(ICKDError("Two are missing:", "  a\nb", "  c" * 999)))
    first, second, third = str(error).splitlines()
    assert (first, second) == ("Two are missing:", "  a b") and len(third) <= LONGEST_LINE


@pytest.mark.parametrize(
    "value", [pytest.param(10**5000, id="huge"), ["x"] * 10**6, "x" * 10**6, "\0"]
)
def test_a_value_of_any_kind_can_be_told(value):
    message = str(OptionError("size", value, "it must be positive."))
    assert message.startswith("size=") and message.endswith(": it must be positive.")
    assert len(message) < 300 and message.isprintable()


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
