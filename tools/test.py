"""Command-line tool ``test``; see ``mmickd/commands/test.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.test import main

if __name__ == "__main__":
    run_command(main)
