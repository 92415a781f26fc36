"""The parts of ``tools/demo.py``: no part of the product, only a user of it."""
