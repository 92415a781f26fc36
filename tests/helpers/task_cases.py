"""Inputs of tasks: data samples, taps, and models that have only heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.structures import Batch, Tapped, View
from mmickd.tasks import Task


def picture(label: Any = None, score: list[float] | None = None, path: str = "a.png") -> Any:
    """Return a data sample of mmpretrain."""
    from mmpretrain.structures import DataSample

    sample = DataSample(metainfo=dict(img_path=path))
    if label is not None:
        sample.set_gt_label(label)
    if score is not None:
        sample.set_gt_score(torch.tensor(score))
    return sample


def scene(gt: Tensor, path: str = "a.png") -> Any:
    """Return a data sample of mmseg with the ``(H, W)`` label map ``gt``."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=dict(img_path=path, img_shape=tuple(gt.shape)))
    sample.gt_sem_seg = PixelData(data=gt[None].long())
    return sample


def tapped(b: int = 1, d: int = 4, c: int = 3, grid: tuple[int, ...] = (4, 6)) -> Tapped:
    """Return random input and output of a classifier layer; the grid ``()`` for classifiers."""
    return Tapped(torch.randn(b, d, *grid), torch.randn(b, c, *grid))


def view_of(
    task: Task,
    teacher: Tapped,
    samples: Sequence[Any],
    shape: tuple[int, int],
    student_logits: Tensor | None = None,
) -> View:
    """Return the task's view of a batch of inputs of this shape."""
    batch = Batch(torch.empty(len(samples), 3, *shape), samples)
    student = None if student_logits is None else Tapped(student_logits + 1, student_logits)
    return task.view(teacher, batch, student)


class Head(nn.Module):
    """Head that has only these attributes."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.__dict__.update(values)


def model(*heads: Head) -> nn.Module:
    """Return a segmenter with one head, or a cascade of heads."""
    module = nn.Module()
    module.decode_head = heads[0] if len(heads) == 1 else nn.ModuleList(heads)
    return module
