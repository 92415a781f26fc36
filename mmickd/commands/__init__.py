"""The commands: what ``tools/`` and the console share, so that a wheel has it too."""
