"""Memory banks on disk."""
