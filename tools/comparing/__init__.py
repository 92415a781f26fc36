"""Trains runs side by side and makes one table of them, for compare.py and demo.py."""
