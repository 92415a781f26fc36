"""The errors that a user is meant to read without a traceback."""

import re
from typing import Any

from mmickd.utils.text import escape_and_shorten, safe_repr

LONGEST_LINE = 600
"""Characters of a message, and of each line below it."""


class ICKDError(ValueError):
    """Something in a config or in its files that stops the run before the first step.

    The message says in one or two sentences what is wrong, where, and what to do.
    ``tools/train.py`` and ``tools/test.py`` print it without a traceback and end with exit code 2.
    Whatever it quotes (file names, other errors), it is printable and short.

    Args:
        message: one paragraph.
        lines: below it, such as a list of files.

    Example:
        >>> print(ICKDError("no teacher" + chr(10) + "is there.", "  teacher.pth"))
        no teacher is there.
          teacher.pth
    """

    def __init__(self, message: str, *lines: str) -> None:
        super().__init__(*(escape_and_shorten(line, LONGEST_LINE) for line in (message, *lines)))

    def __str__(self) -> str:
        return "\n".join(self.args)


class OptionError(ICKDError):
    """The value of one option is not possible.

    Args:
        name: of the option; who builds the object that has it puts its own name before it.
        value: that was given.
        needed: what would be possible, as in 'it must be positive.'.

    Example:
        >>> str(OptionError("temperature", 0, "it must be positive.").inside("losses.kd"))
        'losses.kd.temperature=0: it must be positive.'
    """

    def __init__(self, name: str, value: Any, needed: str) -> None:
        super().__init__(f"{name}={safe_repr(value)}: {needed}")
        self.name, self.value, self.needed = name, value, needed

    def __reduce__(self) -> tuple[Any, ...]:  # an exception is copied by its message else
        return OptionError, (self.name, self.value, self.needed)

    def inside(self, where: str) -> "OptionError":
        """The same error of an option that belongs to a larger one."""
        return OptionError(f"{where}.{self.name}", self.value, self.needed)


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
