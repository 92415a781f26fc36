"""``tools/train.py --resume`` after a run that was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmickd.commands import train


@pytest.fixture
def merged(tmp_path: Path) -> Callable[[], Config]:
    """Function that merges ``--resume`` into a config with initial weights."""

    def merge() -> Config:
        cfg = Config(dict(work_dir=str(tmp_path), load_from="pretrained.pth", optim_wrapper=dict()))
        train.merge_args(cfg, train.parse_args(["run.py", "--resume"]))
        return cfg

    return merge


def save(path: Path, complete: bool = True) -> None:
    torch.save(dict(state_dict=dict(w=torch.ones(9))), path)
    if not complete:
        path.write_bytes(path.read_bytes()[:-9])
    (path.parent / "last_checkpoint").write_text(str(path))


def test_the_last_checkpoint_is_left_to_mmengine(merged, tmp_path, capsys) -> None:
    save(tmp_path / "iter_1.pth")
    cfg = merged()
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert not capsys.readouterr().err


def test_an_incomplete_checkpoint_is_skipped(merged, tmp_path, capsys) -> None:
    save(tmp_path / "iter_1.pth")
    save(tmp_path / "iter_2.pth", complete=False)
    cfg = merged()
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / "iter_1.pth"))
    warning = capsys.readouterr().err
    assert "iter_2.pth" in warning and "iter_1.pth" in warning


def test_without_a_complete_checkpoint_the_run_starts_as_the_config_says(
    merged, tmp_path, capsys
) -> None:
    save(tmp_path / "iter_1.pth", complete=False)
    cfg = merged()
    assert (cfg.get("resume", False), cfg.load_from) == (False, "pretrained.pth")
    assert "iter_1.pth" in capsys.readouterr().err


def test_before_the_first_checkpoint_the_initial_weights_are_loaded(merged) -> None:
    cfg = merged()
    assert (cfg.get("resume", False), cfg.load_from) == (False, "pretrained.pth")
