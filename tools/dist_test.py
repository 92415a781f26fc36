"""Command-line tool ``dist-test``; see ``mmickd/commands/dist.py``."""

import _checkout  # noqa: F401

from mmickd.commands.dist import test

if __name__ == "__main__":
    test()
