"""Errors that are printed without a traceback, and detection of out-of-memory errors."""

import re
from typing import Any

from mmickd.utils.text import escape_and_shorten, safe_repr

MAX_LINE_LENGTH = 600
"""Maximum number of characters of a message, and of each line below it."""


class ICKDError(ValueError):
    """Error in a config or in its files that stops the run before the first step.

    One or two sentences state the cause, the option or file, and advice. The commands
    print it without a traceback and end with exit code 2. Each line is printable and short, even
    if it quotes file names or other errors.

    Args:
        message: Message of one paragraph.
        lines: Further lines below it, such as a list of files.

    Example:
        >>> print(ICKDError("no teacher" + chr(10) + "is there.", "  teacher.pth"))
        no teacher is there.
          teacher.pth
    """

    def __init__(self, message: str, *lines: str) -> None:
        super().__init__(*(escape_and_shorten(line, MAX_LINE_LENGTH) for line in (message, *lines)))

    def __str__(self) -> str:
        return "\n".join(self.args)


class OptionError(ICKDError):
    """Invalid value of one option.

    Args:
        name: Name of the option; :meth:`inside` puts the names of the options around it in front.
        value: The invalid value.
        rule: Rule for valid values, as in 'it must be positive.'.

    Example:
        >>> str(OptionError("temperature", 0, "it must be positive.").inside("losses.kd"))
        'losses.kd.temperature=0: it must be positive.'
    """

    def __init__(self, name: str, value: Any, rule: str) -> None:
        super().__init__(f"{name}={safe_repr(value)}: {rule}")
        self.name, self.value, self.rule = name, value, rule

    def __reduce__(self) -> tuple[Any, ...]:  # pickle would pass the message as the name
        return OptionError, (self.name, self.value, self.rule)

    def inside(self, where: str) -> "OptionError":
        """Return the same error with the name of the enclosing option in front."""
        return OptionError(f"{where}.{self.name}", self.value, self.rule)


_WORDS = re.compile(
    "out of (shared )?memory|not enough memory|insufficient memory|_STATUS_ALLOC_FAILED|"
    "can(not|'t) allocate memory",
    re.IGNORECASE,
)
"""Pattern of the messages of torch, CUDA's libraries, the operating system and OpenCV."""


def is_out_of_memory(error: BaseException) -> bool:
    """True if the error means that the device or the host ran out of memory.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA out of memory."))
        (True, True)
        >>> is_out_of_memory(OSError(12, "Cannot allocate memory")), is_out_of_memory(ValueError())
        (True, False)
    """
    is_of_allocator = isinstance(error, (RuntimeError, OSError)) or type(error).__module__ == "cv2"
    return isinstance(error, MemoryError) or (is_of_allocator and bool(_WORDS.search(str(error))))
