"""Texts and values in messages: short and printable."""

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

from mmickd.utils.text import MAX_LENGTH, escape_and_shorten, safe_repr


@given(st.text(max_size=400), st.integers(5, 100))
def test_any_text_becomes_printable_and_short(text: str, longest: int) -> None:
    shown = escape_and_shorten(text, longest)
    assert shown.isprintable() and len(shown) <= longest
    assert escape_and_shorten(shown, longest) == shown


def test_text_that_is_printable_and_short_stays() -> None:
    text = "  teacher.pth  (\u00e9t\u00e9)"
    assert escape_and_shorten(text, 60) == text


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
def test_other_text_is_escaped_or_shortened(text: str, shown: str) -> None:
    assert escape_and_shorten(text, 9 if "..." in shown else 60) == shown


@pytest.mark.parametrize("value", [0, -1.5, math.nan, None, True, "a'b", [1], (1, "x"), Path("x")])
def test_the_repr_of_a_small_value_is_pythons(value: Any) -> None:
    assert safe_repr(value) == repr(value)


def test_the_repr_of_a_large_value_is_shortened() -> None:
    assert safe_repr([0] * 10**6) == "[0, 0, 0, 0, 0, 0, ...]"
    assert safe_repr(ConfigDict({str(i): i for i in range(99)})).endswith(", ...}")
    assert safe_repr("x" * 10**7).count("x") < MAX_LENGTH
    assert safe_repr(10**5000) == "<integer of 16610 bits>"
    for value in ({"a": [["b" * 999] * 99] * 99}, torch.ones(99, 99), np.ones((99, 99))):
        assert safe_repr(value).isprintable() and len(safe_repr(value)) <= MAX_LENGTH


def test_the_repr_of_a_value_whose_repr_fails() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert safe_repr([Broken()]).startswith("[<Broken instance at")
