"""Search space: ranges around the values of a config's terms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from mmickd.losses.terms import COMPLEMENT, DEFAULT_TERMS, TASK, Defaults, LossTerms, Term
from mmickd.utils.errors import ICKDError
from mmickd.utils.validation import parameters_of

WEIGHT = "loss_weight"
WEIGHT_FACTOR, OTHER_FACTOR = 10, 4
"""A range reaches from the value divided by the factor to the value times the factor."""


@dataclass(frozen=True)
class Range:
    """Range of the values of an option."""

    name: str  # name in the tables, such as ``picd.num_positives``
    key: str  # key of ``--cfg-options``
    low: float
    high: float
    now: float | None = None  # value of the config; None if it has none
    log: bool = True  # True if the scale is logarithmic
    whole: bool = False  # True if the values are integers

    @property
    def holds_now(self) -> bool:
        """True if the value of the config is in the range."""
        return self.now is not None and self.low <= self.now <= self.high

    def option(self, value: float) -> str:
        """Return the option with a value, rounded to three significant digits.

        Example:
            >>> Range("kd.temperature", "losses.kd.temperature", 1, 16).option(4.0449)
            'losses.kd.temperature=4.04'
        """
        return f"{self.key}={int(value) if self.whole else format(value, '.3g')}"


class SearchSpace:
    """Search space of a config.

    Args:
        content: The whole config.
        key: Key of the hook's ``losses`` in it.
        losses: The hook's ``losses``.
        defaults: Defaults of the student's task for terms whose options the config omits.
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        key: str,
        losses: Mapping[str, Any],
        defaults: Defaults | None = None,
    ) -> None:
        self._content, self._key, self._losses = content, key, losses
        self.terms = LossTerms.build(losses, defaults or {})
        self.active = [term for term in self.terms if not term.schedule.is_off]
        self.term_names = {*DEFAULT_TERMS, *losses}  # terms that are off too

    def searched(self) -> list[Range]:
        """Return the ranges of weights, numbers of rows and temperatures of the active terms.

        A number of rows that is 0 or unlimited has no range, nor has an infinite temperature.
        """
        total = sum(t.schedule.largest for t in self.active if not t.loss.retrieves)
        is_complement = (self._losses.get(TASK) or {}).get(WEIGHT) == COMPLEMENT
        ranges = []
        for term in self.active:
            weight = self._around(term, WEIGHT, term.schedule.value, WEIGHT_FACTOR)
            named = (self._losses.get(term.name) or {}).get(WEIGHT)
            if weight and (isinstance(named, Mapping) or term.schedule.changes):
                weight = replace(weight, key=f"{weight.key}.value")
            if weight and is_complement and not term.loss.retrieves:  # their sum is at most 1
                weight = replace(weight, high=min(weight.high, term.schedule.value / total))
            options = [
                self._around(term, name, getattr(term.loss, name, None), OTHER_FACTOR)
                for name in parameters_of(type(term.loss))
                if name.startswith("num_") or name.endswith("temperature")  # in users' losses too
            ]
            ranges += [r for r in (weight, *options) if r is not None]
        return ranges

    def _around(self, term: Term, option: str, value: Any, factor: int) -> Range | None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 < value < math.inf:
            return None
        name, whole = f"{term.name}.{option}", option.startswith("num_")
        low = max(1, value // factor) if whole else value / factor
        return Range(name, f"{self._key}.{name}", low, value * factor, value, whole=whole)

    def schedule_options(self) -> tuple[str, ...]:
        """Return options that set the default schedules of the task explicitly.

        Without these options, an option for the weight alone would replace the whole schedule.
        """
        return tuple(
            f"{self._key}.{term.name}.{WEIGHT}.{field.name}={getattr(term.schedule, field.name)}"
            for term in self.terms
            if term.schedule.changes and WEIGHT not in (self._losses.get(term.name) or {})
            for field in fields(term.schedule)
            if field.name != "name" and getattr(term.schedule, field.name) != field.default
        )

    def ranges(self, vary: Sequence[str] = ()) -> list[Range]:
        """Return the ranges of ``--vary``; without ``vary``, the ranges of :meth:`searched`.

        An entry is ``NAME=LOW:HIGH`` or ``NAME=LOW:HIGH:log``; its name is ``TERM.OPTION`` or a key
        of the config.

        Raises:
            ICKDError: If an entry cannot be read, or its name does not exist.
        """
        return [self._parse(text) for text in vary] if vary else self.searched()

    def _parse(self, text: str) -> Range:
        parts = re.fullmatch(r"([^=\s]+)=([^:]+):([^:]+?)(:log)?", text)
        try:
            name, first, last, log = parts.groups() if parts else ("", "", "", "")
            low, high = float(first), float(last)
        except ValueError:
            low = high = math.nan
        if not -math.inf < low < high < math.inf or (log and low <= 0):
            raise ICKDError(
                f"--vary {text}: it must be NAME=LOW:HIGH or NAME=LOW:HIGH:log, as in "
                "TERM.num_negatives=4:64:log; LOW below HIGH, and above 0 for log."
            )
        is_integer = low.is_integer() and high.is_integer()
        searched = {r.name: r for r in self.searched()}
        if name in searched:
            default = searched[name]
        elif name.split(".")[0] in self.term_names:
            whole = name.rpartition(".")[2].startswith("num_")
            default = Range(name, f"{self._key}.{name}", low, high, whole=whole)
        else:
            value = self._value(name, text)
            whole = isinstance(value, int) and is_integer
            default = Range(name, name, low, high, value, whole=whole)
        if default.whole and not is_integer:
            raise ICKDError(f"--vary {text}: LOW and HIGH of {name} must be whole numbers.")
        return replace(default, low=low, high=high, log=bool(log))

    def _value(self, name: str, text: str) -> float:
        """Return the number under a key of a config."""
        value: Any = self._content
        for part in name.split("."):
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                value = None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            terms = sorted(self.term_names)
            raise ICKDError(
                f"--vary {text}: the config has no number under that name. Give an option of a "
                f"term ({', '.join(terms)}), such as {terms[0]}.{WEIGHT}, or a key of the config "
                "with a number."
            )
        return value
