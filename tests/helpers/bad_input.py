"""Runs with bad input, and the files of such input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import build, train

LOAD = [dict(type="LoadImageFromFile")]


def assert_stops(cfg: Config, *words: str) -> None:
    """Assert that a run ends with an ICKDError of these words before a step, and saves nothing."""
    runner = None
    with pytest.raises(ICKDError) as error:
        runner = build(cfg)
        train(runner)
    message = str(error.value)
    for word in words:
        assert word in message
    assert len(message) < 700
    assert runner is None or runner.iter == 0
    assert not list(Path(cfg.work_dir).rglob("*.pth"))


def changed(cfg: Config, changes: Any) -> Config:
    """Change values of ``cfg`` in place.

    Args:
        cfg: The config of a run.
        changes: Values by their keys (``custom_hooks.0.layer``), or a function that returns them.
    """
    cfg.merge_from_dict(changes() if callable(changes) else changes)
    return cfg


def write_file(name: str, content: Any) -> str:
    """Write bytes to a new file, or any other object with ``torch.save``."""
    path = toys.new_folder() / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return str(path)


def teacher_of(cfg: Config) -> Any:
    """Return the ``teacher`` option of the first custom hook."""
    return cfg.custom_hooks[0].teacher


def changed_checkpoint(toy: toys.Toy, change: Callable[[dict[str, Any]], None], **meta: Any) -> str:
    """Save a copy of a teacher's checkpoint with a changed state dict and ``meta``."""
    checkpoint = torch.load(toy.checkpoint)
    change(checkpoint["state_dict"])
    checkpoint["meta"].update(meta)
    return write_file("changed.pth", checkpoint)
