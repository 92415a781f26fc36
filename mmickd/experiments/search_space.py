"""What a search may change: ranges around the values of a config's terms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mmickd.losses.terms import COMPLEMENT, TASK, LossTerms, Term
from mmickd.utils.errors import ICKDError
from mmickd.utils.validation import parameters_of

WEIGHT = "loss_weight"
WEIGHT_FACTOR, OTHER_FACTOR = 10, 4
"""A range reaches from the value divided by the factor to the value times the factor."""


@dataclass(frozen=True)
class Range:
    """Values that an option may have.

    Args:
        name: name in the tables, such as ``picd.num_positives``.
        key: key of ``--cfg-options``.
        low: smallest value.
        high: largest value.
        now: value of the config; None if it has none.
        log: True if the scale is logarithmic.
        whole: True if the values are integers.
    """

    name: str
    key: str
    low: float
    high: float
    now: float | None = None
    log: bool = True
    whole: bool = False

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


def ranges_of(terms: LossTerms, losses: Mapping[str, Any], key: str) -> list[Range]:
    """Return the ranges of weights, numbers of rows and temperatures of all active terms.

    Args:
        terms: terms built from ``losses``.
        losses: ``losses`` of the config.
        key: key of ``losses`` in the config.

    Returns:
        In the order of the terms. Nothing for a term of weight 0, a number of rows that is 0 or all
        rows, an infinite temperature.
    """
    active = [term for term in terms if not term.schedule.is_off]
    dense = sum(term.schedule.largest for term in active if term.loss.is_dense)
    is_complement = (losses.get(TASK) or {}).get(WEIGHT) == COMPLEMENT
    ranges = []
    for term in active:
        weight = _around(term, WEIGHT, term.schedule.value, WEIGHT_FACTOR, key)
        named = (losses.get(term.name) or {}).get(WEIGHT)
        if weight and (isinstance(named, Mapping) or term.schedule.changes):
            weight = replace(weight, key=f"{weight.key}.value")
        if weight and is_complement and term.loss.is_dense:  # the sum of the weights is at most 1
            weight = replace(weight, high=min(weight.high, term.schedule.value / dense))
        options = [name for name in parameters_of(type(term.loss)) if _is_searched(name)]
        term_ranges = [weight] + [
            _around(term, name, getattr(term.loss, name, None), OTHER_FACTOR, key)
            for name in options
        ]
        ranges += [r for r in term_ranges if r is not None]
    return ranges


def unnamed_schedules(terms: LossTerms, losses: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return options that spell out the schedules which terms have by default of their task.

    Without them an option for the weight alone would replace the whole schedule.

    Args:
        terms: terms built from ``losses``.
        losses: ``losses`` of the config.
        key: key of ``losses`` in the config.

    Example:
        >>> from mmickd.losses.terms import Defaults
        >>> falling = dict(value=4.0, decay="linear")
        >>> defaults = Defaults({"NICDLoss": {"loss_weight": falling}})
        >>> unnamed_schedules(LossTerms.build(None, defaults), {}, "losses")
        ('losses.nicd.loss_weight.value=4.0', 'losses.nicd.loss_weight.decay=linear')
    """
    return tuple(
        f"{key}.{term.name}.{WEIGHT}.{field.name}={getattr(term.schedule, field.name)}"
        for term in terms
        if term.schedule.changes and WEIGHT not in (losses.get(term.name) or {})
        for field in fields(term.schedule)
        if field.name != "name" and getattr(term.schedule, field.name) != field.default
    )


def _is_searched(option: str) -> bool:
    """True if the name is that of a number of rows or a temperature, in users' losses too."""
    return option.startswith("num_") or option.endswith("temperature")


def _around(term: Term, option: str, value: Any, factor: int, key: str) -> Range | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        return None
    name, whole = f"{term.name}.{option}", option.startswith("num_")
    low = max(1, value // factor) if whole else value / factor
    return Range(name, f"{key}.{name}", low, value * factor, value, whole=whole)


def parse_ranges(
    texts: list[str], ranges: list[Range], terms: set[str], content: Mapping[str, Any], key: str
) -> list[Range]:
    """Return the ranges of ``--vary``.

    Args:
        texts: ``NAME=LOW:HIGH`` or ``NAME=LOW:HIGH:log``; the name is ``TERM.OPTION`` or a key of
            the config.
        ranges: ranges of :func:`ranges_of`.
        terms: names of all terms, including those of weight 0.
        content: the whole config.
        key: key of ``losses`` in the config.

    Raises:
        ICKDError: if a text cannot be read, or its name does not exist.
    """
    by_name = {r.name: r for r in ranges}
    return [_parse_range(text, by_name, terms, content, key) for text in texts]


def _parse_range(
    text: str, ranges: Mapping[str, Range], terms: set[str], content: Mapping[str, Any], key: str
) -> Range:
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
    if name in ranges:
        default = ranges[name]
    elif name.split(".")[0] in terms:
        whole = name.rpartition(".")[2].startswith("num_")
        default = Range(name, f"{key}.{name}", low, high, whole=whole)
    else:
        value = _value(content, name, text, sorted(terms))
        whole = isinstance(value, int) and is_integer
        default = Range(name, name, low, high, value, whole=whole)
    if default.whole and not is_integer:
        raise ICKDError(f"--vary {text}: LOW and HIGH of {name} must be whole numbers.")
    return replace(default, low=low, high=high, log=bool(log))


def _value(content: Any, name: str, text: str, terms: list[str]) -> float:
    """Return the number under a key of a config."""
    value = content
    for part in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ICKDError(
            f"--vary {text}: the config has no number under that name. Give an option of a term "
            f"({', '.join(terms)}), such as {terms[0]}.{WEIGHT}, or a key of the config with a "
            "number."
        )
    return value
