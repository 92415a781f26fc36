"""Command-line tool ``compare``; see ``mmickd/commands/compare.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.compare import main

if __name__ == "__main__":
    run_command(main)
