"""The one error that a user is meant to read without a traceback."""


class ICKDError(ValueError):
    """Something in a config or in its files that stops the run before the first step.

    The message says in one or two sentences what is wrong, where, and what to do.
    ``tools/train.py`` and ``tools/test.py`` print it without a traceback and end with exit code 2.
    """
