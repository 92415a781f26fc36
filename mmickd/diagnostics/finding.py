"""Findings about a run, as data."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

from mmengine.logging import MMLogger

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """Finding about a run, for the log, for ``mmickd check`` and for scripts.

    Args:
        code: Stable name of this kind of finding; :mod:`mmickd.diagnostics.codes` lists all codes.
        level: Severity.
        text: Message with the value, its place and advice.

    Example:
        >>> Finding("few_positives", "warning", "most classes have 3 rows").at("image level").text
        'image level: most classes have 3 rows'
    """

    code: str
    level: Level
    text: str

    def at(self, place: str) -> Finding:
        """Return the finding with a place before its text."""
        return replace(self, text=f"{place}: {self.text}")

    def log(self) -> None:
        """Log the text to mmengine's current logger.

        The record has the finding as its attribute ``finding``.
        """
        level = getattr(logging, self.level.upper())
        MMLogger.get_current_instance().log(level, self.text, extra={"finding": self})
