"""Command-line tool ``tune``; see ``mmickd/commands/tune.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.tune import main

if __name__ == "__main__":
    run_command(main)
