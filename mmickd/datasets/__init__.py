"""Datasets that our configs need, and that mmseg and mmpretrain lack.

The first look-up of a dataset or transform imports ``mmickd.datasets``, also without mmseg. So
datasets that derive from mmseg are only registered if mmseg is installed.
"""

from importlib.util import find_spec

from mmickd.datasets.in_memory import InMemoryDataset

__all__ = ["InMemoryDataset"]

if find_spec("mmseg") is not None:
    from mmickd.datasets.camvid import CamVidDataset

    __all__ += ["CamVidDataset"]
