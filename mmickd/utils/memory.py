"""Errors of memory that is not there."""

from __future__ import annotations

import re

_WORDS = re.compile(
    "out of (shared )?memory|not enough memory|insufficient memory|_STATUS_ALLOC_FAILED|"
    "can(not|'t) allocate memory",
    re.IGNORECASE,
)
"""Words in the messages of torch, CUDA's libraries, the operating system and OpenCV."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the host, had no memory left.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA out of memory."))
        (True, True)
        >>> is_out_of_memory(OSError(12, "Cannot allocate memory")), is_out_of_memory(ValueError())
        (True, False)
    """
    is_of_allocator = isinstance(error, (RuntimeError, OSError)) or type(error).__module__ == "cv2"
    return isinstance(error, MemoryError) or (is_of_allocator and bool(_WORDS.search(str(error))))
