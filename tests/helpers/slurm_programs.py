"""Stand-ins for Slurm's programs, whose queue is a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROGRAMS = {
    "sbatch": 'cp "$1" "$FOLDER/script" && env > "$FOLDER/env" && echo Submitted batch job 7',
    "srun": "",
    "squeue": 'cat "$FOLDER/queue"',
    "scancel": 'echo "$@" >> "$FOLDER/cancelled"; sed -i s/RUNNING/CANCELLED/ "$FOLDER/queue"',
    "sinfo": 'case "$*" in *nowhere*) ;; *%R) echo debug ;; *) cat "$FOLDER/gpus" ;; esac',
}


class SlurmPrograms:
    """Folder on PATH with programs whose answers are files of the folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name, body in PROGRAMS.items():
            self.replace(name, body)
        for name in ("queue", "cancelled", "gpus"):
            (folder / name).touch()
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def replace(self, name: str, body: str) -> None:
        """Replace a program by a shell script."""
        file = self.folder / name
        file.write_text(f"#!/bin/sh\nFOLDER={self.folder}\n{body}\n")
        file.chmod(0o755)

    def set(self, name: str, text: str) -> None:
        """Set the answer of squeue ('queue', lines of id and state) or sinfo ('gpus')."""
        (self.folder / name).write_text(text)

    def read(self, name: str) -> str:
        """Return a file: the submitted 'script', its 'env', or the ids that were 'cancelled'."""
        return (self.folder / name).read_text()
