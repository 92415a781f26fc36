"""Isolation of the runs in this folder."""

from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope
from mmengine.utils import ManagerMixin


@pytest.fixture(autouse=True)
def _forget_globals() -> Iterator[None]:
    """Reset mmengine's visualizer, default scope and log after each run."""
    before = DefaultScope.get_current_instance()
    yield
    classes = list(ManagerMixin.__subclasses__())
    for cls in classes:
        classes += cls.__subclasses__()
        cls._instance_dict.clear()
    if before is not None:
        DefaultScope.get_instance(before.instance_name, scope_name=before.scope_name)
