"""What a bank depends on, as text: two banks are the same if and only if their fingerprints are."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import torch

from mmickd.banks.images import BankImages


def digest(value: Any) -> str:
    """SHA-256 of a value of plain types, arrays, and objects with plain attributes."""
    state = hashlib.sha256()
    _update(state, value, set())
    return state.hexdigest()


def images_digest(images: BankImages) -> str:
    """SHA-256 of annotations, and of size and time of change of the files they name."""
    state = hashlib.sha256()
    for index in range(len(images)):
        info = images.info(index)
        _update(state, info, set())
        for key in ("img_path", "seg_map_path"):
            path = info.get(key)
            if isinstance(path, str) and os.path.exists(path):
                stat = os.stat(path)
                state.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    return state.hexdigest()


def fingerprint_of(fields: dict[str, Any]) -> str:
    """Short name of a set of fields: the folder of the bank that they describe."""
    text = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _update(state: Any, value: Any, seen: set[int]) -> None:
    """Feed ``value`` to the hash, whatever the order of dicts or the addresses of objects."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        state.update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.ascontiguousarray(value)
        state.update(f"array:{array.dtype}{array.shape};".encode())
        state.update(array.tobytes())
    elif isinstance(value, dict):
        state.update(b"{")
        for key in sorted(value, key=str):
            _update(state, key, seen)
            _update(state, value[key], seen)
        state.update(b"}")
    elif isinstance(value, (list, tuple, set, frozenset)):
        state.update(b"[")
        for item in sorted(value, key=str) if isinstance(value, (set, frozenset)) else value:
            _update(state, item, seen)
        state.update(b"]")
    else:
        kind = value if isinstance(value, type) or not hasattr(value, "__dict__") else type(value)
        state.update(f"{getattr(kind, '__module__', '')}.{_qualname(kind)};".encode())
        if kind is not value and id(value) not in seen:
            seen.add(id(value))
            _update(state, vars(value), seen)


def _qualname(kind: Any) -> str:
    return getattr(kind, "__qualname__", type(kind).__qualname__)
