"""Plain checkpoints: their content, and that a file is complete or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmickd.storage.plain_checkpoint import plain, write_plain_checkpoint
from mmickd.utils.errors import ICKDError


class Unknown:
    """Class that a safe reader does not load."""


def test_values_that_are_not_plain_are_left_out(tmp_path: Path) -> None:
    meta = dict(
        epoch=2,
        dataset_meta=dict(classes=("a", "b"), palette=np.zeros((2, 3)), hook=Unknown()),
        seeds=[1, Unknown(), None],
    )
    write_plain_checkpoint(tmp_path / "new/out.pth", meta, {"w": torch.ones(2)})
    written = torch.load(tmp_path / "new/out.pth", weights_only=True)
    assert written["meta"] == dict(epoch=2, dataset_meta=dict(classes=("a", "b")), seeds=[1, None])
    assert list(written) == ["meta", "state_dict"] and written["state_dict"]["w"].sum() == 2
    assert plain("text") == "text"


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, TypeError)):  # of pickle
        write_plain_checkpoint(tmp_path / "out.pth", {}, {"w": lambda: 0})
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ICKDError, match=r"file/out\.pth cannot be written"):
        write_plain_checkpoint(tmp_path / "file/out.pth", {}, {})
