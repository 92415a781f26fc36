"""What retrieval finds, for eyes: contexts of chosen images, as pictures and as a page."""

from mmickd.gallery.structures import Case, Guess, Neighbour, Suspect

__all__ = ["Case", "Guess", "Neighbour", "Suspect"]
