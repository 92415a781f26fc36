"""Digests of values: the same for equal ones, in whatever process."""

from __future__ import annotations

import copyreg
import hashlib
import inspect
from typing import Any, BinaryIO

import numpy as np
import torch


class Digest:
    """SHA-256 of values of plain types, arrays, and objects with plain attributes.

    Example:
        >>> one, other = Digest(), Digest()
        >>> one.add(dict(a=1, b=[2.0])), other.add(dict(b=[2.0], a=1))
        (None, None)
        >>> one.hexdigest() == other.hexdigest()
        True
    """

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, value: Any) -> None:
        """Take in one more value."""
        _update(self._state, value, {})

    def hexdigest(self) -> str:
        """Of all values so far."""
        return self._state.hexdigest()


def digest(value: Any) -> str:
    """The digest of one value."""
    state = Digest()
    state.add(value)
    return state.hexdigest()


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 of an open file's bytes, from where it stands."""
    state = hashlib.sha256()
    while block := file.read(2**24):
        state.update(block)
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
    """Attributes that tell an object from others of its class."""
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
