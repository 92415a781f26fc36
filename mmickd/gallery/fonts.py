"""Fonts of the pictures: DejaVu Sans, and installed fonts for the letters that it lacks."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

from mmengine.logging import print_log
from PIL import ImageFont

from mmickd.utils.text import safe_repr

SIZE = 13
"""Font size in pixels."""
STYLES = ("bold", "italic", "oblique", "serif", "mono", "light", "thin", "black", "condensed")
"""Parts of font file names; such fonts are used last."""

Run = tuple[str, ImageFont.FreeTypeFont]
"""Text, and a font that has all its letters."""


class Fonts:
    """Collection of fonts that has a font for each letter.

    Args:
        list_files: Function that returns the installed font files; it is called if DejaVu Sans
            lacks a letter.
    """

    def __init__(self, list_files: Callable[[], Sequence[str]] | None = None) -> None:
        self._list_files = _font_files if list_files is None else list_files
        self._chosen: dict[tuple[str, bool], str] = {}
        self._has_warned = False

    def runs(self, text: str, bold: bool = False) -> list[Run]:
        """Split a line of text into runs of one font each.

        A letter that no font has is logged once; DejaVu Sans draws a box for it.

        Args:
            text: Line of text; blanks and control characters become spaces.
            bold: True for the bold DejaVu Sans; other fonts have one weight.

        Example:
            >>> [run for run, _ in Fonts().runs("50% cat" + chr(10))]
            ['50% cat ']
        """
        runs: list[tuple[str, str]] = []
        for letter in unicodedata.normalize("NFC", text):
            letter = _drawable(letter)
            file = runs[-1][1] if runs else _dejavu(bold)
            if not _is_part_of_letter(letter):
                file = self._file_of(letter, bold, text)
            if runs and file == runs[-1][1]:
                runs[-1] = (runs[-1][0] + letter, file)
            else:
                runs.append((letter, file))
        return [(run, _font(file)) for run, file in runs]

    def ascent(self, bold: bool = False) -> int:
        """Return the height of DejaVu Sans above the baseline, in pixels."""
        return _font(_dejavu(bold)).getmetrics()[0]

    def _file_of(self, letter: str, bold: bool, text: str) -> str:
        if (letter, bold) not in self._chosen:
            file = next((f for f in self._files(bold) if ord(letter) in _letters(f)), None)
            if file is None:
                self._warn(letter, text)
            self._chosen[letter, bold] = file or _dejavu(bold)
        return self._chosen[letter, bold]

    def _files(self, bold: bool) -> Iterator[str]:
        yield from (_dejavu(bold), _dejavu(False))
        yield from self._fallbacks

    @cached_property
    def _fallbacks(self) -> list[str]:
        """Installed fonts: plain fonts first, and large files first, as they have more letters."""
        files = [Path(file) for file in self._list_files()]

        def order(file: Path) -> tuple[int, int, str]:
            name = file.name.lower()
            return sum(style in name for style in STYLES), -file.stat().st_size, name

        # the font LastResort has a box for every letter
        usable = (f for f in files if f.is_file() and "lastresort" not in f.name.lower())
        return [str(file) for file in sorted(usable, key=order)]

    def _warn(self, letter: str, text: str) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        print_log(
            f"no font of this machine has the letter {safe_repr(letter)} of "
            f"{safe_repr(text.strip())}: pictures show a box in its place. Install a font of the "
            "script (Debian: apt-get install fonts-noto-cjk, or fonts-noto for all scripts); the "
            "HTML page uses the browser's fonts. This is not logged again.",
            logger="current",
            level=logging.WARNING,
        )


def _drawable(letter: str) -> str:
    """Return the letter, or its replacement in a line of text."""
    kind = unicodedata.category(letter)
    return " " if letter.isspace() or kind == "Cc" else "\ufffd" if kind == "Cs" else letter


def _is_part_of_letter(letter: str) -> bool:
    """True for marks and joiners, which are drawn together with the previous letter."""
    return unicodedata.category(letter) in ("Mn", "Mc", "Me", "Cf")


@cache
def _letters(file: str) -> frozenset[int]:
    """Return the code points that a font draws at :data:`SIZE`; none if it cannot be used."""
    from matplotlib.ft2font import FT2Font

    try:
        _font(file)  # bitmap fonts have few sizes
        return frozenset(FT2Font(file).get_charmap())
    except Exception:  # any error of a library for a broken file
        return frozenset()


@cache
def _font(file: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, SIZE)


@cache
def _dejavu(bold: bool) -> str:
    """Return matplotlib's font file (mmengine requires it) with Latin, Greek, Cyrillic, ..."""
    from matplotlib.font_manager import FontProperties, findfont

    return findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal"))


def _font_files() -> Sequence[str]:
    from matplotlib.font_manager import findSystemFonts

    return findSystemFonts()
