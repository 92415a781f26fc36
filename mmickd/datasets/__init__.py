"""Datasets that the shipped configs need, and that mmseg and mmpretrain lack.

``mmickd.datasets`` is imported by the first look-up of any dataset or transform of this scope, also
where only mmpretrain is installed: what needs mmseg is registered only where there is one.
"""

from importlib.util import find_spec

from mmickd.datasets.in_memory import InMemoryDataset

__all__ = ["InMemoryDataset"]

if find_spec("mmseg") is not None:
    from mmickd.datasets.camvid import CamVidDataset

    __all__ += ["CamVidDataset"]
