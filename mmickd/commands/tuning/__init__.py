"""Searches over the terms of a config, with as many trials for vanilla KD alone."""
