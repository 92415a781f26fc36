"""Errors that users read without a traceback."""

import pickle

import pytest

from mmickd.utils.errors import MAX_LINE_LENGTH, ICKDError, OptionError


def test_an_option_error_is_an_ickd_error_is_a_value_error():
    assert issubclass(OptionError, ICKDError) and issubclass(ICKDError, ValueError)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), ("0", "'0'"), (None, "None"), ([1], "[1]"), ("a'b", '"a\'b"')]
)
def test_an_option_error_distinguishes_text_from_numbers(value, shown):
    error = OptionError("temperature", value, "it must be positive.")
    assert str(error) == f"temperature={shown}: it must be positive."
    assert (error.name, error.value, error.rule) == ("temperature", value, "it must be positive.")


def test_a_message_is_printable_and_short_whatever_it_quotes():
    error = ICKDError("no file " + "\x1b[1m" + "a" * 9000 + " here.\nGive\tanother.")
    assert str(error).isprintable() and len(str(error)) <= MAX_LINE_LENGTH
    assert str(error).startswith("no file \\x1b[1maaa") and str(error).endswith("Give another.")


def test_lines_below_a_message_stay_lines():
    error = pickle.loads(pickle.dumps(ICKDError("Two are missing:", "  a\nb", "  c" * 999)))
    first, second, third = str(error).splitlines()
    assert (first, second) == ("Two are missing:", "  a b") and len(third) <= MAX_LINE_LENGTH


@pytest.mark.parametrize(
    "value", [pytest.param(10**5000, id="huge"), ["x"] * 10**6, "x" * 10**6, "\0"]
)
def test_an_option_error_takes_any_value(value):
    message = str(OptionError("size", value, "it must be positive."))
    assert message.startswith("size=") and message.endswith(": it must be positive.")
    assert len(message) < 300 and message.isprintable()


def test_inside_returns_a_copy_with_a_longer_name():
    error = OptionError("value", -1, "it must not be negative.")
    outer = error.inside("loss_weight").inside("kd").inside("losses")
    assert str(outer) == "losses.kd.loss_weight.value=-1: it must not be negative."
    assert outer.name == "losses.kd.loss_weight.value" and outer.value == -1
    assert error.name == "value" and isinstance(outer, OptionError)


def test_an_option_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(OptionError("size", 0, "it must be positive.")))
    assert str(error) == "size=0: it must be positive."
    assert (error.name, error.value, error.rule) == ("size", 0, "it must be positive.")
