"""JSON files that other programs read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmickd.utils.atomic import atomic_write


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON, with null in place of NaN and Inf, which JSON does not have.

    Example:
        >>> to_json({"last": float("nan"), "seeds": (1, 2)})
        '{"last": null, "seeds": [1, 2]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def write_json(file: Path, value: Any) -> None:
    """Write a value to a JSON file, atomically; the folder is created if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        temporary.write_text(to_json(value, indent=2) + "\n")
