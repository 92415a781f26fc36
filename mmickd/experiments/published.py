"""Numbers that others have published, beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EPOCHS = ("best", "last")
KNOWN = {"value", "source", "epoch"}


@dataclass(frozen=True)
class Published:
    """A number of a paper.

    Args:
        value: of the metric, in its unit.
        source: where it stands; empty if the plan does not say.
        epoch: 'best' of all validations or 'last'; empty if the plan does not say.
    """

    value: float
    source: str = ""
    epoch: str = ""

    def text(self) -> str:
        """As the table shows it.

        Example:
            >>> Published(76.05, epoch="best").text()
            '76.05 (best)'
        """
        return f"{self.value:.2f} ({self.epoch})" if self.epoch else f"{self.value:.2f}"


def read_published(said: Any) -> Published | None:
    """What a plan's ``published`` means.

    Args:
        said: a number, or a dict with ``value`` and, if wanted, ``source`` and ``epoch``; None:
            nothing was published.

    Raises:
        ValueError: if it is neither.

    Example:
        >>> read_published({"value": 76, "source": "a paper"})
        Published(value=76.0, source='a paper', epoch='')
    """
    if said is None:
        return None
    entry = said if isinstance(said, Mapping) else {"value": said}
    value, epoch = entry.get("value"), entry.get("epoch", "")
    known = set(entry) <= KNOWN and epoch in ("", *EPOCHS)
    if not known or isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(
            f"published={said!r} must be a number, or have a number as 'value' and, if wanted, "
            "'source' and 'epoch' ('best' or 'last')."
        )
    return Published(float(value), str(entry.get("source", "")), epoch)


def sources(published: Mapping[str, Published | None]) -> str:
    """A sentence on where published numbers are from; empty where there is none.

    Args:
        published: by the name of a student, or of the teacher.
    """
    found = {name: one for name, one in published.items() if one is not None}
    if not found:
        return ""
    said = "; ".join(f"{name}: {one.source or 'no source given'}" for name, one in found.items())
    return (
        f"Published, as their authors report them ({said}): compare a number of the best epoch "
        "with our best, one of the last with our last."
    )
