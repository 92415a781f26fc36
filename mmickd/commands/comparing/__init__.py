"""Trains runs side by side, paired by seeds, and makes one table of them."""
