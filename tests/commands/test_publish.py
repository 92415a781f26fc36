"""The student of a checkpoint as a plain file; whole runs are in tests/runs/test_published.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmickd.commands.publish import main
from mmickd.utils.errors import ICKDError

META = dict(dataset_meta=dict(classes=("a", "b")), epoch=2, iter=8, cfg="model = 1", time="now")


def weights(number: float) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.full((2, 3), number), "head.bias": torch.full((2,), number)}


def saved(folder: Path, **more: Any) -> Path:
    """A checkpoint of a run whose teacher learns."""
    path = folder / "iter_8.pth"
    state = dict(meta=META, state_dict=weights(1.0), message_hub={}, optimizer={})
    mine = dict(teacher=dict(model=weights(2.0)), banks=dict(image=torch.zeros(999, 9)))
    torch.save({**state, "mmickd": mine, **more}, path)
    return path


def test_only_the_student_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = saved(tmp_path), tmp_path / "deep/er/student.pth"
    main([str(path), str(out)])
    assert f"student written to {out}" in capsys.readouterr().out
    published = torch.load(out, weights_only=True)
    assert list(published) == ["meta", "state_dict"] and published["meta"] == META
    assert list(published["state_dict"]) == list(weights(0))
    assert all(bool((value == 1).all()) for value in published["state_dict"].values())
    assert out.stat().st_size < path.stat().st_size / 3


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    path, out = saved(tmp_path), tmp_path / "student.pth"
    out.write_text("precious")
    for name in (out, path):
        with pytest.raises(ICKDError, match=rf"{name.name} exists already"):
            main([str(path), str(name)])
    assert out.read_text() == "precious" and "mmickd" in torch.load(path)


@pytest.mark.parametrize("meta", [None, "text"])
def test_a_checkpoint_without_meta(meta: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, meta=meta)
    main([str(path), str(tmp_path / "student.pth")])
    assert torch.load(tmp_path / "student.pth")["meta"] == {}


def test_a_file_without_a_student(tmp_path: Path) -> None:
    torch.save(weights(1.0), tmp_path / "weights.pth")
    with pytest.raises(ICKDError, match=r"weights\.pth is no checkpoint of a run"):
        main([str(tmp_path / "weights.pth"), str(tmp_path / "student.pth")])
    assert not (tmp_path / "student.pth").exists()
