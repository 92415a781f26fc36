"""The errors that a user is meant to read without a traceback."""

from typing import Any


class ICKDError(ValueError):
    """Something in a config or in its files that stops the run before the first step.

    The message says in one or two sentences what is wrong, where, and what to do.
    ``tools/train.py`` and ``tools/test.py`` print it without a traceback and end with exit code 2.
    """


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
        super().__init__(f"{name}={value!r}: {needed}")
        self.name, self.value, self.needed = name, value, needed

    def __reduce__(self) -> tuple[Any, ...]:  # an exception is copied by its message else
        return OptionError, (self.name, self.value, self.needed)

    def inside(self, where: str) -> "OptionError":
        """The same error of an option that belongs to a larger one."""
        return OptionError(f"{where}.{self.name}", self.value, self.needed)


def one_line(text: Any, width: int = 200) -> str:
    """Text of a file or an error, fit for one line of a log.

    Example:
        >>> one_line(["more", "than fits"], width=12)
        "['more', ..."
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return line if len(line) <= width else f"{line[: width - 3]}..."


def in_one_line(error: BaseException) -> str:
    """What an error says, as a part of a message; its name where it says nothing.

    Example:
        >>> in_one_line(OSError("no   file")), in_one_line(EOFError())
        ('no file', 'EOFError')
    """
    return one_line(str(error) or type(error).__name__)
