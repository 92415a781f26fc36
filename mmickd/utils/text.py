"""Text of a message: what it quotes is short and printable, whatever it was."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

MAX_LENGTH = 200
"""Characters of a quoted value."""


def escape_and_shorten(text: str, longest: int) -> str:
    """Text in one line, without control characters, the middle left out where it is too long.

    Args:
        text: any.
        longest: characters that it may have, at least 5.

    Example:
        >>> escape_and_shorten("two" + chr(10) + "lines", 20), escape_and_shorten("abcdefghij", 7)
        ('two lines', 'ab...ij')
    """
    text = _shorten(text, longest)  # a short text first: escaping looks at each character
    return _shorten("".join(map(_escape, text)), longest)


def shorten(text: Any, longest: int = MAX_LENGTH) -> str:
    """Text of a file, or of a log, with single blanks.

    Example:
        >>> shorten(["more", "than fits"], longest=12)
        "['mo...ts']"
    """
    return escape_and_shorten(" ".join(str(text).split()), longest)


def error_text(error: BaseException) -> str:
    """What an error says, as a part of a message; its name where it says nothing.

    Example:
        >>> error_text(OSError("no   file")), error_text(EOFError())
        ('no file', 'EOFError')
    """
    return shorten(str(error) or type(error).__name__)


def safe_repr(value: Any) -> str:
    """The ``repr`` of a value, never much longer than :data:`MAX_LENGTH` while it is made.

    Example:
        >>> safe_repr("fp8"), safe_repr(10**5000), safe_repr([0] * 10**6)
        ("'fp8'", '<integer of 16610 bits>', '[0, 0, 0, 0, 0, 0, ...]')
    """
    return escape_and_shorten(_QUOTES.repr(value), MAX_LENGTH)


def _shorten(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    kept = (longest - 3) // 2
    return f"{text[:kept]}...{text[-kept:]}"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else ascii(character)[1:-1]


class _Quotes(reprlib.Repr):
    """Of large containers only the beginning is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlong = 3, 6, 40
        self.maxstring = self.maxother = MAX_LENGTH

    def repr1(self, x: Any, level: int) -> str:
        # those of mmengine are mappings of another name, which reprlib does not know
        return super().repr1(dict(x) if isinstance(x, Mapping) else x, level)

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write integers of more digits
        bits = x.bit_length()
        return super().repr_int(x, level) if bits < 4096 else f"<integer of {bits} bits>"


_QUOTES = _Quotes()
