"""Task adapters: the only place where classifiers and segmenters differ."""

from __future__ import annotations

from torch import nn

from mmickd.tasks.base import BaseTask
from mmickd.tasks.classification import ClassificationTask
from mmickd.tasks.segmentation import SegmentationTask, last_decode_head
from mmickd.tasks.view import View

__all__ = ["BaseTask", "ClassificationTask", "SegmentationTask", "View", "make_task"]


def make_task(student: nn.Module, teacher: nn.Module) -> BaseTask:
    """The task adapter of a student and its teacher, by the student's heads."""
    if not hasattr(student, "decode_head"):
        return ClassificationTask()
    head = last_decode_head(student)
    teacher_head = last_decode_head(teacher) if hasattr(teacher, "decode_head") else None
    return SegmentationTask(
        ignore_index=int(getattr(head, "ignore_index", 255)),
        student_align_corners=bool(getattr(head, "align_corners", False)),
        teacher_align_corners=bool(getattr(teacher_head, "align_corners", False)),
    )
