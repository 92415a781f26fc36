"""Commands of the console and of ``tools/``, as modules of the package."""
