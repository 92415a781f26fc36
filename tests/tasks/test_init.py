"""Which task a model has, and which levels there are."""

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
    """A model that no other task knows."""


class MarkedTask(ClassificationTask):
    """Of marked models alone; it has a level of its own beside that of images."""

    levels = {"mark": ImageLevel(), "image": ImageLevel()}

    @classmethod
    def fits(cls, model):
        return isinstance(model, Marked)


class LaterTask(MarkedTask):
    """Fits what another one fits."""

    levels = {"mark": ImageLevel(), "late": ImageLevel()}


@pytest.fixture
def register():
    """Registers tasks, which are gone after the test."""
    added = []

    def add(kind):
        TASKS.register_module(module=kind)
        added.append(kind.__name__)

    yield add
    for name in added:
        TASKS.module_dict.pop(name)


def test_the_kinds_of_the_stock_packages():
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
    # what it does not fit keeps its own
    assert kind_of_task(model(Head())) is SegmentationTask
    assert kind_of_task(nn.Module()) is ClassificationTask


def test_levels_are_those_of_all_tasks_each_once(register):
    before = level_names()
    assert before[:3] == ["image", "pixel", "region"]
    register(MarkedTask)
    register(LaterTask)
    assert level_names() == [*before, "mark", "late"]


@pytest.mark.parametrize("kind", [ClassificationTask, SegmentationTask])
def test_every_task_offers_levels(kind):
    assert kind.levels and all(isinstance(level, Level) for level in kind.levels.values())
