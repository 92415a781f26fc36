"""Data sets that the configs need and that mmseg and mmpretrain do not have.

The first look-up of a data set or transform imports ``mmickd.datasets``, even without mmseg. So
data sets that derive from mmseg's are registered only if mmseg is installed.
"""

from importlib.util import find_spec

from mmickd.datasets.in_memory import InMemoryDataset

__all__ = ["InMemoryDataset"]

if find_spec("mmseg") is not None:
    from mmickd.datasets.camvid import CamVidDataset

    __all__ += ["CamVidDataset"]
