"""What a search may change: ranges around what the terms of a config have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmickd.losses.terms import COMPLEMENT, TASK, LossTerms, Term
from mmickd.utils.errors import ICKDError
from mmickd.utils.validation import parameters_of

WEIGHT = "loss_weight"
WEIGHT_FACTOR, OTHER_FACTOR = 10, 4
"""A range reaches from the value over that factor to the value times it."""


@dataclass(frozen=True)
class Range:
    """Numbers that an option may have.

    Args:
        name: what the tables call it, such as ``picd.num_positives``.
        key: as in ``--cfg-options``.
        low: the smallest.
        high: the largest.
        now: what the config has; None where it has none.
        log: whether factors count, not differences.
        whole: whether it is an integer.
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
        """Whether what the config has is among them."""
        return self.now is not None and self.low <= self.now <= self.high

    def option(self, value: float) -> str:
        """The option with one of them, of three digits: more would say nothing.

        Example:
            >>> Range("kd.temperature", "losses.kd.temperature", 1, 16).option(4.0449)
            'losses.kd.temperature=4.04'
        """
        return f"{self.key}={int(value) if self.whole else format(value, '.3g')}"


def ranges_of(terms: LossTerms, losses: Mapping[str, Any], key: str) -> list[Range]:
    """Weights, numbers of rows and temperatures of all terms that count.

    Args:
        terms: built from ``losses``.
        losses: as the config has them.
        key: of ``losses`` in the config.

    Returns:
        In the order of the terms. Nothing for a term of weight 0, a number of rows that is 0 or all
        rows, an infinite temperature.
    """
    counting = [term for term in terms if not term.schedule.is_off]
    dense = sum(term.schedule.largest for term in counting if term.loss.is_dense)
    follows = (losses.get(TASK) or {}).get(WEIGHT) == COMPLEMENT
    found = []
    for term in counting:
        weight = _around(term, WEIGHT, term.schedule.value, WEIGHT_FACTOR, key)
        named = (losses.get(term.name) or {}).get(WEIGHT)
        if weight and (isinstance(named, Mapping) or term.schedule.changes):
            weight = _with(weight, key=f"{weight.key}.value")
        if weight and follows and term.loss.is_dense:  # together at most 1
            weight = _with(weight, high=min(weight.high, term.schedule.value / dense))
        options = [name for name in parameters_of(type(term.loss)) if _is_searched(name)]
        others = [
            _around(term, name, getattr(term.loss, name, None), OTHER_FACTOR, key)
            for name in options
        ]
        found += [one for one in (weight, *others) if one is not None]
    return found


def unnamed_schedules(terms: LossTerms, losses: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Options that spell out the schedules that terms have from their task.

    Else an option for the weight alone would stand in the place of the whole schedule.

    Args:
        terms: built from ``losses``.
        losses: as the config has them.
        key: of ``losses`` in the config.

    Example:
        >>> from mmickd.losses.terms import Defaults
        >>> falling = dict(value=4.0, decay="linear")
        >>> defaults = Defaults({"NICDLoss": {"loss_weight": falling}})
        >>> unnamed_schedules(LossTerms.build(None, defaults), {}, "losses")
        ('losses.nicd.loss_weight.value=4.0', 'losses.nicd.loss_weight.decay=linear')
    """
    return tuple(
        f"{key}.{term.name}.{WEIGHT}.{one.name}={getattr(term.schedule, one.name)}"
        for term in terms
        if term.schedule.changes and WEIGHT not in (losses.get(term.name) or {})
        for one in fields(term.schedule)
        if one.name != "name" and getattr(term.schedule, one.name) != one.default
    )


def _is_searched(option: str) -> bool:
    """By its name, so that losses of a user's own are searched alike."""
    return option.startswith("num_") or option.endswith("temperature")


def _around(term: Term, option: str, value: Any, factor: int, key: str) -> Range | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        return None
    name, whole = f"{term.name}.{option}", option.startswith("num_")
    low = max(1, value // factor) if whole else value / factor
    return Range(name, f"{key}.{name}", low, value * factor, value, whole=whole)


def narrowed(
    wanted: list[str], ranges: list[Range], terms: set[str], content: Mapping[str, Any], key: str
) -> list[Range]:
    """The ranges that a user gives by hand.

    Args:
        wanted: ``NAME=LOW:HIGH`` or ``NAME=LOW:HIGH:log``; the name is ``TERM.OPTION`` or a key of
            the config.
        ranges: see :func:`ranges_of`.
        terms: names of all terms, those of weight 0 too.
        content: the whole config.
        key: of ``losses`` in it.

    Raises:
        ICKDError: if one cannot be read, or names nothing.
    """
    known = {one.name: one for one in ranges}
    return [_given(text, known, terms, content, key) for text in wanted]


def _given(
    text: str, known: Mapping[str, Range], terms: set[str], content: Mapping[str, Any], key: str
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
    if name in known:
        now = known[name]
    elif name.split(".")[0] in terms:
        now = Range(name, f"{key}.{name}", low, high, whole=_is_whole(name))
    else:
        value = _value(content, name, text, sorted(terms))
        is_integer = isinstance(value, int) and low.is_integer() and high.is_integer()
        now = Range(name, name, low, high, value, whole=is_integer)
    if now.whole and not (low.is_integer() and high.is_integer()):
        raise ICKDError(f"--vary {text}: {name} takes whole numbers.")
    return _with(now, low=low, high=high, log=bool(log))


def _is_whole(name: str) -> bool:
    return name.rpartition(".")[2].startswith("num_")


def _value(content: Any, name: str, text: str, terms: list[str]) -> float:
    """The number that a config has under a key."""
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
            f"--vary {text}: the config has no number of that name. Give an option of a term "
            f"({', '.join(terms)}), such as {terms[0]}.{WEIGHT}, or a key of the config that has "
            "a number."
        )
    return value


def _with(one: Range, **changes: Any) -> Range:
    return Range(**{**vars(one), **changes})
