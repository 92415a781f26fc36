"""Findings about a run for its user: bank report, label issues, order of classes."""
