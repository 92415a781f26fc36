"""Skips the campaign unless it is selected: ``make fault-test``."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "faults" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="takes long: run it with `make fault-test`")
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(skip)
