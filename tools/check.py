"""Command-line tool ``check``; see ``mmickd/commands/check.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.check import main

if __name__ == "__main__":
    run_command(main)
