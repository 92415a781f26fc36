"""Command-line tool ``publish``; see ``mmickd/commands/publish.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.publish import publish

if __name__ == "__main__":
    run_command(publish)
