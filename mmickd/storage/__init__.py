"""Storage of memory banks on disk."""
