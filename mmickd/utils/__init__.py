"""Small helpers that hold nothing of the method."""
