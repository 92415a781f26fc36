"""Task adapters, which hold every difference between classifiers and segmenters."""

from __future__ import annotations

from torch import nn

from mmickd.registry import TASKS, registered
from mmickd.tasks.base import Task
from mmickd.tasks.classification import ClassificationTask
from mmickd.tasks.levels import Level
from mmickd.tasks.segmentation import SegmentationTask

__all__ = [
    "ClassificationTask",
    "Level",
    "SegmentationTask",
    "Task",
    "kind_of_task",
    "level_names",
    "task_for",
]


def kind_of_task(model: nn.Module) -> type[Task]:
    """Return the task of a model; if several fit, the task that was registered last.

    Example:
        >>> kind_of_task(nn.Linear(2, 2)).__name__
        'ClassificationTask'
    """
    return next(kind for kind in reversed(registered(TASKS).values()) if kind.fits(model))


def task_for(student: nn.Module, teacher: nn.Module) -> Task:
    """Return the task adapter of a student and its teacher; the student decides which.

    Example:
        >>> type(task_for(nn.Linear(2, 2), nn.Linear(2, 2))).__name__
        'ClassificationTask'
    """
    return kind_of_task(student).between(student, teacher)


def level_names() -> list[str]:
    """Return the names of the levels of all tasks.

    Example:
        >>> level_names()[:3]
        ['image', 'pixel', 'region']
    """
    return list(dict.fromkeys(name for kind in registered(TASKS).values() for name in kind.levels))
