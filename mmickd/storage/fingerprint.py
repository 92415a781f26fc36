"""What a bank depends on, as text: two banks are the same if and only if their fingerprints are."""

from __future__ import annotations

import copyreg
import hashlib
import inspect
import os
from typing import Any

import numpy as np
import torch

from mmickd.building.images import BankImages


def digest(value: Any) -> str:
    """SHA-256 of a value of plain types, arrays, and objects with plain attributes."""
    state = hashlib.sha256()
    _update(state, value, {})
    return state.hexdigest()


def images_digest(images: BankImages) -> str:
    """SHA-256 of annotations, and of size and time of change of the files they name."""
    state = hashlib.sha256()
    for index in range(len(images)):
        info = images.info(index)
        _update(state, info, {})
        for key in ("img_path", "seg_map_path"):
            path = info.get(key)
            if isinstance(path, str) and os.path.exists(path):
                stat = os.stat(path)
                state.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    return state.hexdigest()


def _update(state: Any, value: Any, seen: dict[int, Any]) -> None:
    """Feed ``value`` to the hash, whatever the order of dicts or the addresses of objects.

    Args:
        state: the hash.
        value: anything.
        seen: objects that were fed already; held, so that no address is used twice.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        state.update(f"{type(value).__name__}:{value!r};".encode("utf-8", "surrogateescape"))
    elif isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.ascontiguousarray(value)
        state.update(f"array:{array.dtype}{array.shape};".encode())
        if array.dtype.hasobject:  # its bytes are addresses
            _update(state, array.tolist(), seen)
        else:
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
        kind = value if hasattr(value, "__qualname__") else type(value)
        state.update(f"{getattr(kind, '__module__', '')}.{kind.__qualname__};".encode())
        if id(value) not in seen:
            seen[id(value)] = value
            _update(state, _contents(value), seen)


def _contents(value: Any) -> Any:
    """What tells an object from others of its class."""
    if isinstance(value, type) or inspect.isroutine(value):
        # A class or function is its name, a bound method also what it is bound to.
        owner = getattr(value, "__self__", None)
        return None if inspect.ismodule(owner) else owner
    if getattr(value, "__dict__", None):
        return vars(value)
    try:  # paths, partials, patterns, dtypes and the like keep it elsewhere
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
    except Exception:  # whatever an object that cannot be pickled raises
        return None
    return reduced if isinstance(reduced, str) else reduced[1:]
