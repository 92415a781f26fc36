"""Contexts of selected images, as pictures and as a page."""

from mmickd.gallery.structures import LabelIssue, Neighbour, Prediction, QueryExample

__all__ = ["LabelIssue", "Neighbour", "Prediction", "QueryExample"]
