"""Plain checkpoints: what they hold, and that a file is whole or not there."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmickd.commands.plain_checkpoint import (
    add_plain_arguments,
    plain,
    read_checkpoint,
    write_plain,
)
from mmickd.utils.errors import ICKDError


class Unknown:
    """A class that a safe reader does not make."""


def read(*words: Any) -> dict[str, Any]:
    parser = ArgumentParser()
    add_plain_arguments(parser, "a run's")
    return read_checkpoint(parser.parse_args([str(word) for word in words]))


def test_what_is_no_plain_value_is_left_out(tmp_path: Path) -> None:
    meta = dict(
        epoch=2,
        dataset_meta=dict(classes=("a", "b"), palette=np.zeros((2, 3)), hook=Unknown()),
        seeds=[1, Unknown(), None],
    )
    write_plain(tmp_path / "new/out.pth", meta, {"w": torch.ones(2)})
    written = torch.load(tmp_path / "new/out.pth", weights_only=True)
    assert written["meta"] == dict(epoch=2, dataset_meta=dict(classes=("a", "b")), seeds=[1, None])
    assert list(written) == ["meta", "state_dict"] and written["state_dict"]["w"].sum() == 2
    assert plain("text") == "text"


def test_a_file_that_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, TypeError)):  # of pickle
        write_plain(tmp_path / "out.pth", {}, {"w": lambda: 0})
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ICKDError, match=r"file/out\.pth cannot be written"):
        write_plain(tmp_path / "file/out.pth", {}, {})


def test_what_cannot_be_read_names_the_argument(tmp_path: Path) -> None:
    path, out = tmp_path / "run.pth", tmp_path / "out.pth"
    with pytest.raises(ICKDError, match=r"run\.pth does not exist"):
        read(path, out)
    path.write_bytes(b"no weights")
    with pytest.raises(ICKDError, match=r"^CHECKPOINT '.*run\.pth'"):
        read(path, out)
    torch.save(dict(state_dict={}, more=Unknown()), path)
    with pytest.raises(ICKDError, match=r"CHECKPOINT .*Unknown.*set --trust-checkpoint\."):
        read(path, out)
    assert list(read(path, out, "--trust-checkpoint")) == ["state_dict", "more"]
    out.write_text("precious")
    with pytest.raises(ICKDError, match=r"out\.pth exists already"):
        read(path, out)
