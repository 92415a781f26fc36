"""Command-line tool ``gallery``; see ``mmickd/commands/gallery.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.gallery import main

if __name__ == "__main__":
    run_command(main)
