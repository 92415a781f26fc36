"""Gallery: contexts of selected images as pictures and as an HTML page, and label issues."""

from mmickd.gallery.structures import LabelIssue, Neighbour, Prediction, QueryExample

__all__ = ["LabelIssue", "Neighbour", "Prediction", "QueryExample"]
