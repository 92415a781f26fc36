"""Choice of a model's task, and the names of all levels."""

import pytest
from torch import nn

from mmickd.registry import TASKS
from mmickd.tasks import (
    ClassificationTask,
    Level,
    SegmentationTask,
    kind_of_task,
    level_names,
    task_for,
)
from mmickd.tasks.levels import ImageLevel
from tests.helpers.task_cases import Head, model


class Marked(nn.Module):
    """Model of a task that is registered in tests."""


class MarkedTask(ClassificationTask):
    """Task of marked models alone, with another level beside the level of images."""

    levels = {"mark": ImageLevel(), "image": ImageLevel()}

    @classmethod
    def fits(cls, model):
        return isinstance(model, Marked)


class LaterTask(MarkedTask):
    """Task of the same models, registered later."""

    levels = {"mark": ImageLevel(), "late": ImageLevel()}


@pytest.fixture
def register():
    """Function that registers a task until the end of the test."""
    names = []

    def add(kind):
        TASKS.register_module(module=kind)
        names.append(kind.__name__)

    yield add
    for name in names:
        TASKS.module_dict.pop(name)


def test_tasks_of_the_stock_packages():
    assert kind_of_task(model(Head())) is SegmentationTask
    assert kind_of_task(nn.Module()) is ClassificationTask
    assert isinstance(task_for(model(Head()), model(Head())), SegmentationTask)
    assert isinstance(task_for(nn.Module(), nn.Module()), ClassificationTask)


def test_the_students_kind_decides():
    assert isinstance(task_for(model(Head()), nn.Module()), SegmentationTask)
    assert isinstance(task_for(nn.Module(), model(Head())), ClassificationTask)


def test_of_all_tasks_that_fit_the_one_registered_last_wins(register):
    assert kind_of_task(Marked()) is ClassificationTask
    register(MarkedTask)
    assert kind_of_task(Marked()) is MarkedTask
    register(LaterTask)
    assert kind_of_task(Marked()) is LaterTask
    assert isinstance(task_for(Marked(), nn.Module()), LaterTask)
    # other models keep their tasks
    assert kind_of_task(model(Head())) is SegmentationTask
    assert kind_of_task(nn.Module()) is ClassificationTask


def test_level_names_are_those_of_all_tasks_each_once(register):
    before = level_names()
    assert before[:3] == ["image", "pixel", "region"]
    register(MarkedTask)
    register(LaterTask)
    assert level_names() == [*before, "mark", "late"]


@pytest.mark.parametrize("kind", [ClassificationTask, SegmentationTask])
def test_every_task_has_levels(kind):
    assert kind.levels and all(isinstance(level, Level) for level in kind.levels.values())
