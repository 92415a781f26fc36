"""Digests of values; equal values have equal digests in every process."""

from __future__ import annotations

import copyreg
import hashlib
import inspect
from typing import Any, BinaryIO

import numpy as np
import torch


class Digest:
    """SHA-256 over values of plain types, arrays, and objects with plain attributes.

    Example:
        >>> first, second = Digest(), Digest()
        >>> first.add(dict(a=1, b=[2.0])), second.add(dict(b=[2.0], a=1))
        (None, None)
        >>> first.hexdigest() == second.hexdigest()
        True
    """

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, value: Any) -> None:
        """Add a value."""
        _update(self._state, value, {})

    def hexdigest(self) -> str:
        """Return the digest of all values so far."""
        return self._state.hexdigest()


def digest(value: Any) -> str:
    """Return the digest of one value."""
    state = Digest()
    state.add(value)
    return state.hexdigest()


def sha256_of(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file, from its present position to its end."""
    state = hashlib.sha256()
    while block := file.read(2**24):
        state.update(block)
    return state.hexdigest()


def _update(state: Any, value: Any, visited: dict[int, Any]) -> None:
    """Add ``value`` to the hash; the order of dicts and the addresses of objects do not matter.

    Args:
        state: The hash.
        value: Any value.
        visited: Objects so far, by address; the references prevent that an address is reused.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        state.update(f"{type(value).__name__}:{value!r};".encode("utf-8", "surrogateescape"))
    elif isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.ascontiguousarray(value)
        state.update(f"array:{array.dtype}{array.shape};".encode())
        if array.dtype.hasobject:  # its bytes are addresses
            _update(state, array.tolist(), visited)
        else:
            state.update(array.tobytes())
    elif isinstance(value, dict):
        state.update(b"{")
        for key in sorted(value, key=str):
            _update(state, key, visited)
            _update(state, value[key], visited)
        state.update(b"}")
    elif isinstance(value, (list, tuple, set, frozenset)):
        state.update(b"[")
        for item in sorted(value, key=str) if isinstance(value, (set, frozenset)) else value:
            _update(state, item, visited)
        state.update(b"]")
    else:
        kind = value if hasattr(value, "__qualname__") else type(value)
        state.update(f"{getattr(kind, '__module__', '')}.{kind.__qualname__};".encode())
        if id(value) not in visited:
            visited[id(value)] = value
            _update(state, _contents(value), visited)


def _contents(value: Any) -> Any:
    """Return the attributes of an object, by which it differs from other objects of its class."""
    if isinstance(value, type) or inspect.isroutine(value):
        # A class or function is identified by its name, a bound method also by its object.
        owner = getattr(value, "__self__", None)
        return None if inspect.ismodule(owner) else owner
    if getattr(value, "__dict__", None):
        return vars(value)
    try:  # paths, partials, patterns, dtypes and the like have no __dict__
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
    except Exception:  # an object that cannot be pickled may raise anything
        return None
    return reduced if isinstance(reduced, str) else reduced[1:]
