"""What messages quote is short and printable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import ConfigDict

from mmickd.utils.quoting import LONGEST_QUOTE, printable, quoted


@given(st.text(max_size=400), st.integers(5, 100))
def test_any_text_becomes_printable_and_short(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert shown.isprintable() and len(shown) <= longest
    assert printable(shown, longest) == shown


def test_text_that_is_printable_and_short_stays() -> None:
    text = "  teacher.pth  (\u00e9t\u00e9)"
    assert printable(text, 60) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand more", "two lines and more"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("nul\0", r"nul\x00"),
        ("\ud800", r"\ud800"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("a" * 500 + "end", "aaa...end"),
    ],
)
def test_what_becomes_of_other_text(text: str, shown: str) -> None:
    assert printable(text, 9 if "..." in shown else 60) == shown


@pytest.mark.parametrize("value", [0, -1.5, math.nan, None, True, "a'b", [1], (1, "x"), Path("x")])
def test_a_small_value_is_quoted_as_python_writes_it(value: Any) -> None:
    assert quoted(value) == repr(value)


def test_a_large_value_is_not_written_whole() -> None:
    assert quoted([0] * 10**6) == "[0, 0, 0, 0, 0, 0, ...]"
    assert quoted(ConfigDict({str(i): i for i in range(99)})).endswith(", ...}")
    assert quoted("x" * 10**7).count("x") < LONGEST_QUOTE
    assert quoted(10**5000) == "<integer of 16610 bits>"
    for value in ({"a": [["b" * 999] * 99] * 99}, torch.ones(99, 99), np.ones((99, 99))):
        assert quoted(value).isprintable() and len(quoted(value)) <= LONGEST_QUOTE


def test_a_value_of_which_nothing_can_be_said() -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise RuntimeError

    assert quoted([Unspeakable()]).startswith("[<Unspeakable instance at")
