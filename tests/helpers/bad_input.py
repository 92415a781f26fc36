"""What the tests of bad input share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import build, plain_config_text

LOAD = [dict(type="LoadImageFromFile")]


def assert_stops(cfg: Config, *words: str) -> None:
    """The run ends with an ICKDError of these words, no step is made and nothing saved."""
    runner = None
    with pytest.raises(ICKDError) as caught, plain_config_text():
        runner = build(cfg)
        runner.train()
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 700
    assert runner is None or runner.iter == 0
    assert not list(Path(cfg.work_dir).rglob("*.pth"))


def changed(cfg: Config, changes: Any) -> Config:
    """``cfg`` with other values by their keys (``custom_hooks.0.layer``).

    Args:
        cfg: a run.
        changes: the values, or a function that makes them.
    """
    cfg.merge_from_dict(changes() if callable(changes) else changes)
    return cfg


def file_of(name: str, content: Any) -> str:
    """A file of these bytes; of anything else, as torch saves it."""
    path = toys.new_folder() / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return str(path)


def teacher_of(cfg: Config) -> Any:
    return cfg.custom_hooks[0].teacher


def state_of(toy: toys.Toy, change: Callable[[dict[str, Any]], None], **meta: Any) -> str:
    """A changed copy of a teacher's checkpoint."""
    checkpoint = torch.load(toy.checkpoint)
    change(checkpoint["state_dict"])
    checkpoint["meta"].update(meta)
    path = toys.new_folder() / "changed.pth"
    torch.save(checkpoint, path)
    return str(path)
