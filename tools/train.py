"""Command-line tool ``train``; see ``mmickd/commands/train.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.train import main

if __name__ == "__main__":
    run_command(main)
