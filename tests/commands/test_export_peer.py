"""A peer of an online run as a checkpoint of its own; the stock tools on it are in tests/runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmickd.commands.export_peer import main
from mmickd.teachers.checkpoint import classes_of, load_checkpoint
from mmickd.utils.errors import ICKDError

META = dict(dataset_meta=dict(classes=("a", "b")), epoch=2, iter=8, cfg="a long text", time="now")


def weights(number: float) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.full((2, 3), number), "head.bias": torch.full((2,), number)}


def saved(folder: Path, **state: Any) -> Path:
    """A checkpoint of a run; ``state`` is the teacher's."""
    path = folder / "iter_8.pth"
    mine = {"mmickd": state} if state else {}
    torch.save(dict(meta=META, state_dict=weights(9.0), optimizer={}, **mine), path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a run with two peers, whose weights are their numbers."""
    peers = [dict(state_dict=weights(float(i)), optimizer=dict(state=i)) for i in range(2)]
    return saved(tmp_path, peers=peers, encoders=[], banks={})


@pytest.mark.parametrize("number", [0, 1])
def test_a_peer_becomes_a_plain_checkpoint(
    checkpoint: Path, tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "er" / "peer.pth"
    main([str(checkpoint), str(out), "--peer", str(number)])
    assert f"peer {number} written to {out}" in capsys.readouterr().out
    exported = load_checkpoint(str(out))  # which takes tensors and plain values only
    assert set(exported) == {"meta", "state_dict"}
    assert list(exported["state_dict"]) == list(weights(0))
    assert all(bool((value == number).all()) for value in exported["state_dict"].values())
    assert classes_of(exported) == ("a", "b")
    assert exported["meta"] == {name: META[name] for name in ("dataset_meta", "epoch", "iter")}


def test_the_first_peer_is_the_default(checkpoint: Path, tmp_path: Path) -> None:
    main([str(checkpoint), str(tmp_path / "peer.pth")])
    exported = load_checkpoint(str(tmp_path / "peer.pth"))
    assert float(exported["state_dict"]["head.bias"].sum()) == 0.0


def test_a_file_is_never_replaced(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "precious.pth"
    out.write_text("precious")
    with pytest.raises(ICKDError, match=r"precious\.pth exists already"):
        main([str(checkpoint), str(out)])
    with pytest.raises(ICKDError, match=r"iter_8\.pth exists already"):
        main([str(checkpoint), str(checkpoint)])
    assert out.read_text() == "precious" and len(load_checkpoint(str(checkpoint))) == 4


@pytest.mark.parametrize("number", [2, -1])
def test_a_peer_that_is_not_there(checkpoint: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(ICKDError, match=f"holds 2 peers: there is no peer {number}"):
        main([str(checkpoint), str(tmp_path / "peer.pth"), "--peer", str(number)])
    assert not (tmp_path / "peer.pth").exists()


@pytest.mark.parametrize("state", [{}, dict(teacher={}, banks={})], ids=["plain", "self-taught"])
def test_a_checkpoint_without_peers(state: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ICKDError, match=r"iter_8\.pth holds 0 peers"):
        main([str(saved(tmp_path, **state)), str(tmp_path / "peer.pth")])


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ICKDError, match=r"no\.pth does not exist"):
        main([str(tmp_path / "no.pth"), str(tmp_path / "peer.pth")])
