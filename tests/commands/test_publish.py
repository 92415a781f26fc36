"""The student or a peer of a checkpoint as a plain file; whole runs are in tests/runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmickd.commands.publish import export_peer, publish
from mmickd.teachers.checkpoint import classes_of, load_checkpoint
from mmickd.utils.errors import ICKDError

META = dict(dataset_meta=dict(classes=("a", "b")), epoch=2, iter=8, cfg="model = 1", time="now")
COMMANDS = pytest.mark.parametrize("command", [publish, export_peer])


class Unknown:
    """Class that a safe reader does not load."""


def weights(number: float) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.full((2, 3), number), "head.bias": torch.full((2,), number)}


def saved(folder: Path, **changes: Any) -> Path:
    """Write the checkpoint of a run: the student's weights are 9, each peer's are its number."""
    path = folder / "iter_8.pth"
    peers = [dict(state_dict=weights(float(i)), optimizer=dict(state=i)) for i in range(2)]
    state = dict(meta=META, state_dict=weights(9.0), message_hub={}, optimizer={})
    state["mmickd"] = dict(peers=peers, encoders=[], banks=dict(image=torch.zeros(999, 9)))
    torch.save({**state, **changes}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return saved(tmp_path)


@pytest.mark.parametrize(
    ("command", "words", "number", "keys"),
    [
        (publish, (), 9, list(META)),
        (export_peer, (), 0, ["dataset_meta", "epoch", "iter"]),
        (export_peer, ("--peer", "1"), 1, ["dataset_meta", "epoch", "iter"]),
    ],
)
def test_only_one_network_is_written(
    command: Callable[[list[str]], None],
    words: tuple[str, ...],
    number: int,
    keys: list[str],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "deep/er/network.pth"
    command([str(checkpoint), str(out), *words])
    assert f"written to {out}" in capsys.readouterr().out
    written = load_checkpoint(str(out))  # accepts only tensors and plain values
    assert list(written) == ["meta", "state_dict"]
    assert written["meta"] == {key: META[key] for key in keys}
    assert classes_of(written) == ("a", "b")
    assert list(written["state_dict"]) == list(weights(0))
    assert all(bool((value == number).all()) for value in written["state_dict"].values())
    assert out.stat().st_size < checkpoint.stat().st_size / 3


@COMMANDS
def test_a_file_is_never_replaced(command: Any, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "precious.pth"
    out.write_text("precious")
    for name in (out, checkpoint):
        with pytest.raises(ICKDError, match=rf"{name.name} exists already"):
            command([str(checkpoint), str(name)])
    assert out.read_text() == "precious" and "mmickd" in torch.load(checkpoint)


@COMMANDS
def test_a_checkpoint_that_cannot_be_read(command: Any, tmp_path: Path) -> None:
    path, out = tmp_path / "run.pth", tmp_path / "out.pth"
    with pytest.raises(ICKDError, match=r"run\.pth does not exist"):
        command([str(path), str(out)])
    path.write_bytes(b"no weights")
    with pytest.raises(ICKDError, match=r"^CHECKPOINT '.*run\.pth'"):
        command([str(path), str(out)])
    path = saved(tmp_path, more=Unknown())
    with pytest.raises(ICKDError, match=r"CHECKPOINT .*Unknown.*set --trust-checkpoint\."):
        command([str(path), str(out)])
    assert not out.exists()
    command([str(path), str(out), "--trust-checkpoint"])
    assert load_checkpoint(str(out))["meta"]["epoch"] == 2


@pytest.mark.parametrize("meta", [None, "text"])
def test_a_checkpoint_without_meta(meta: Any, tmp_path: Path) -> None:
    publish([str(saved(tmp_path, meta=meta)), str(tmp_path / "student.pth")])
    assert torch.load(tmp_path / "student.pth")["meta"] == {}


def test_a_file_without_a_student(tmp_path: Path) -> None:
    torch.save(weights(1.0), tmp_path / "weights.pth")
    with pytest.raises(ICKDError, match=r"weights\.pth is no checkpoint of a run"):
        publish([str(tmp_path / "weights.pth"), str(tmp_path / "student.pth")])
    assert not (tmp_path / "student.pth").exists()


@pytest.mark.parametrize(
    ("state", "number", "count"),
    [
        ({}, 2, 2),
        ({}, -1, 2),
        (dict(mmickd={}), 0, 0),
        (dict(mmickd=dict(teacher={}, banks={})), 0, 0),
    ],
)
def test_a_missing_peer(state: dict[str, Any], number: int, count: int, tmp_path: Path) -> None:
    path = saved(tmp_path, **state)
    with pytest.raises(ICKDError, match=f"holds {count} peers: there is no peer {number}"):
        export_peer([str(path), str(tmp_path / "peer.pth"), "--peer", str(number)])
    assert not (tmp_path / "peer.pth").exists()
