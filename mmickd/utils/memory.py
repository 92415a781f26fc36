"""Errors of memory that is not there."""

from __future__ import annotations

import re

_WORDS = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the host, had no memory left.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA out of memory."))
        (True, True)
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_WORDS.search(str(error)))
    )
