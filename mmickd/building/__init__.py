"""Building memory banks: one pass of the teacher over the training images."""
