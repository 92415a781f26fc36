"""Command-line tool ``bank``; see ``mmickd/commands/bank.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.bank import main

if __name__ == "__main__":
    run_command(main)
