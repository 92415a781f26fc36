"""Command-line tool ``export-peer``; see ``mmickd/commands/publish.py``."""

import _checkout  # noqa: F401

from mmickd.commands.arguments import run_command
from mmickd.commands.publish import export_peer

if __name__ == "__main__":
    run_command(export_peer)
