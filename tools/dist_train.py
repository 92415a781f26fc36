"""Command-line tool ``dist-train``; see ``mmickd/commands/dist.py``."""

import _checkout  # noqa: F401

from mmickd.commands.dist import train

if __name__ == "__main__":
    train()
