"""Building memory banks: one pass of the teacher over the training images."""

from mmickd.building.build import build_banks
from mmickd.building.images import BankImages

__all__ = ["BankImages", "build_banks"]
