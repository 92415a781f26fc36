"""Building of memory banks by one pass of the teacher over the training images."""
