"""Checkpoints that a killed run leaves behind, and the one that is resumed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mmickd.training.resuming import LatestCheckpoint, is_readable, latest_checkpoint


def save(path: Path, age: int = 0) -> Path:
    torch.save(dict(state_dict=dict(w=torch.randn(50))), path)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """Work dir with checkpoints of steps 5, 10 and 15 (the recorded one), and the best weights."""
    for age, name in enumerate(("best_mIoU_iter_15.pth", "iter_15.pth", "iter_10.pth")):
        save(tmp_path / name, age)
    save(tmp_path / "iter_5.pth", 9)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_15.pth"))
    return tmp_path


def test_a_complete_recorded_checkpoint_is_resumed(work_dir: Path) -> None:
    assert latest_checkpoint(work_dir) == LatestCheckpoint(str(work_dir / "iter_15.pth"))


def test_without_a_record_the_run_starts_from_the_beginning(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "none") == LatestCheckpoint(None)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_truncated_file_is_not_readable(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "iter_1.pth")
    assert is_readable(path)
    truncate(path, int(share * path.stat().st_size))
    with pytest.raises((RuntimeError, EOFError)):
        torch.load(path, weights_only=True)
    assert not is_readable(path)


def test_a_file_with_altered_bytes_is_not_readable(tmp_path: Path) -> None:
    path = save(tmp_path / "iter_1.pth")
    data, stored = bytearray(path.read_bytes()), torch.load(path)["state_dict"]["w"]
    place = bytes(data).index(stored.numpy().tobytes())
    data[place : place + 64] = bytes(64)  # like a page that was never written to the disk
    path.write_bytes(bytes(data))
    assert not is_readable(path)


def test_the_newest_complete_checkpoint_replaces_an_incomplete_one(work_dir: Path) -> None:
    truncate(work_dir / "iter_15.pth", 100)
    latest = latest_checkpoint(work_dir)
    assert latest.path == str(work_dir / "iter_10.pth")
    assert "iter_15.pth" in latest.warning and "iter_10.pth" in latest.warning
    truncate(work_dir / "iter_10.pth", 100)
    assert latest_checkpoint(work_dir).path == str(work_dir / "iter_5.pth")


def test_the_newest_checkpoint_is_the_last_written_one(work_dir: Path) -> None:
    # an earlier run in the same folder had more iterations
    save(work_dir / "iter_900.pth", age=100)
    (work_dir / "iter_15.pth").unlink()
    assert latest_checkpoint(work_dir).path == str(work_dir / "iter_10.pth")


def test_an_empty_record_is_a_warning(work_dir: Path) -> None:
    (work_dir / "last_checkpoint").write_text("")
    latest = latest_checkpoint(work_dir)
    assert latest.path == str(work_dir / "iter_15.pth")
    assert "last_checkpoint is empty" in latest.warning


def test_without_a_complete_checkpoint_the_run_starts_from_the_beginning(work_dir: Path) -> None:
    for path in work_dir.glob("iter_*.pth"):
        path.unlink()
    latest = latest_checkpoint(work_dir)
    assert latest.path is None  # best_*.pth has no optimizer state
    assert "beginning" in latest.warning


def test_folders_and_remote_files_count_as_readable(tmp_path: Path) -> None:
    assert is_readable(tmp_path)
    assert is_readable("s3://bucket/iter_1.pth")


def test_checkpoints_outside_the_work_dir_are_found(work_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last_checkpoint").write_text(str(work_dir / "iter_20.pth"))
    assert latest_checkpoint(run).path == str(work_dir / "iter_15.pth")
