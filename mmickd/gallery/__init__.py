"""What retrieval finds, for eyes: contexts of chosen images, as pictures and as a page."""

from mmickd.gallery.structures import Guess, LabelIssue, Neighbour, QueryExample

__all__ = ["QueryExample", "Guess", "Neighbour", "LabelIssue"]
