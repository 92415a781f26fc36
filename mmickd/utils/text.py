"""Conversion of any value to short and printable text, for messages."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

MAX_LENGTH = 200
"""Maximum number of characters of a quoted value."""


def escape_and_shorten(text: str, longest: int) -> str:
    """Return the text in one line, with control characters escaped and a long middle left out.

    Args:
        text: Any text.
        longest: Maximum number of characters, at least 5.

    Example:
        >>> escape_and_shorten("two" + chr(10) + "lines", 20), escape_and_shorten("abcdefghij", 7)
        ('two lines', 'ab...ij')
    """
    text = _shorten(text, longest)  # before escaping, which is slow for long texts
    return _shorten("".join(map(_escape, text)), longest)


def shorten(text: Any, longest: int = MAX_LENGTH) -> str:
    """Return the text of a value in one line: single blanks, at most ``longest`` characters.

    Example:
        >>> shorten(["more", "than fits"], longest=12)
        "['mo...ts']"
    """
    return escape_and_shorten(" ".join(str(text).split()), longest)


def error_text(error: BaseException) -> str:
    """Return the message of an error, shortened; the name of its class if it has no message.

    Example:
        >>> error_text(OSError("no   file")), error_text(EOFError())
        ('no file', 'EOFError')
    """
    return shorten(str(error) or type(error).__name__)


def safe_repr(value: Any) -> str:
    """Return the ``repr`` of a value, shortened; large values are read only in part.

    Example:
        >>> safe_repr("fp8"), safe_repr(10**5000), safe_repr([0] * 10**6)
        ("'fp8'", '<integer of 16610 bits>', '[0, 0, 0, 0, 0, 0, ...]')
    """
    return escape_and_shorten(_REPR.repr(value), MAX_LENGTH)


def _shorten(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    kept = (longest - 3) // 2
    return f"{text[:kept]}...{text[-kept:]}"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else ascii(character)[1:-1]


class _Repr(reprlib.Repr):
    """``repr`` that reads only the beginning of large containers."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlong = 3, 6, 40
        self.maxstring = self.maxother = MAX_LENGTH

    def repr1(self, x: Any, level: int) -> str:
        # reprlib recognises a dict by its class name, which ConfigDict does not have
        return super().repr1(dict(x) if isinstance(x, Mapping) else x, level)

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print integers of more digits
        bits = x.bit_length()
        return super().repr_int(x, level) if bits < 4096 else f"<integer of {bits} bits>"


_REPR = _Repr()
