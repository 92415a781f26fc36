"""Reading a teacher's weights, without running what comes along."""

import os
import pickle
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from torch import nn

from mmickd.teachers.checkpoint import (
    TeacherWeights,
    classes_of,
    load_checkpoint,
    state_dict_of,
)
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError
from tests.teachers.test_archive import rezip


def net(width=3):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


def test_forms_of_a_state_dict():
    state = net().state_dict()
    for checkpoint in (
        state,
        {"state_dict": state, "meta": {}},
        {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    ):
        assert state_dict_of(checkpoint).keys() == state.keys()


@pytest.mark.parametrize(
    "checkpoint", [{"state_dict": None}, {"state_dict": [1]}, {"meta": {}}, {"state_dict": {1: 2}}]
)
def test_a_checkpoint_without_weights(checkpoint):
    with pytest.raises(ICKDError):
        load_strictly(net(), state_dict_of(checkpoint), "x.pth", "teacher.cfg")


def test_classes_in_both_styles():
    assert classes_of({"meta": {"dataset_meta": {"classes": ["a", "b"]}}}) == ("a", "b")
    assert classes_of({"meta": {"CLASSES": ("a", "b")}}) == ("a", "b")
    for nothing in (
        *({}, {"meta": None}, {"meta": {}}, {"meta": {"dataset_meta": None}}),
        *({"meta": [1]}, {"meta": {"dataset_meta": "x"}}, {"meta": {"CLASSES": torch.zeros(2)}}),
    ):
        assert classes_of(nothing) is None


def test_a_checkpoint_as_mmengine_writes_it(tmp_path):
    """With message hub, optimizer and schedulers: still no code is needed."""
    from mmengine.logging import MessageHub

    hub = MessageHub("checkpoint_test")
    for step in range(3):
        hub.update_scalar("train/loss", np.float32(step))
        hub.update_scalar("train/lr", torch.tensor(0.1))
    hub.update_info("iter", 3)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "meta": {"epoch": 1, "iter": 3, "dataset_meta": {"classes": ("a", "b")}, "time": "now"},
        "state_dict": model.state_dict(),
        "message_hub": hub.state_dict(),
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [{"base_values": [0.1], "last_step": 3}],
    }
    torch.save(checkpoint, tmp_path / "iter_3.pth")
    loaded = load_checkpoint(str(tmp_path / "iter_3.pth"))
    assert classes_of(loaded) == ("a", "b")
    load_strictly(net(), state_dict_of(loaded), "iter_3.pth", "teacher.cfg")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Getattr:
    """Reaches for another object's method, as a HistoryBuffer does for its own."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return (getattr, (self.owner, self.name))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_does_not_run(tmp_path, legacy):
    proof, path = tmp_path / "proof", tmp_path / "evil.pth"
    torch.save(
        {"state_dict": net().state_dict(), "extra": Payload(proof)},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(ICKDError, match=r"more than tensors.*trust_checkpoint=True"):
        load_checkpoint(str(path))
    assert not proof.exists()
    load_checkpoint(str(path), trust=True)  # the payload is real: it runs where it is trusted
    assert proof.exists()


def test_a_bare_pickle_is_refused(tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Payload(proof)))
    with pytest.raises(ICKDError, match=r"evil.pkl"):
        load_checkpoint(str(path))
    assert not proof.exists()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (torch.Tensor, "tolist"),
        (HistoryBuffer, "__init__"),
        (HistoryBuffer, "__class__"),
        (HistoryBuffer, "_set_default_statistics"),
        (np.ndarray, "min"),
        (OrderedDict, "current"),
    ],
)
def test_a_foreign_getattr_is_refused(tmp_path, owner, name):
    torch.save({"x": Getattr(owner, name)}, tmp_path / "evil.pth")
    with pytest.raises(ICKDError, match="trust_checkpoint"):
        load_checkpoint(str(tmp_path / "evil.pth"))


class Command(Payload):
    """Runs a program when it is unpickled."""

    def __reduce__(self):
        return (os.system, (f"touch '{self.path}'",))


@pytest.mark.parametrize("where", ["optimizer", "message_hub", "meta", "key", "state"])
def test_a_program_is_refused_wherever_it_hides(tmp_path, where):
    proof, path = tmp_path / "proof", tmp_path / "evil.pth"
    model, evil = net(), Command(proof)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "meta": {"epoch": 1},
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer([1], [1]))},
    }
    if where == "optimizer":
        checkpoint["optimizer"]["state"][0]["momentum_buffer"] = [(evil,)]
    elif where == "message_hub":
        checkpoint["message_hub"]["log_scalars"]["loss"]._log_history = evil
    elif where == "meta":
        checkpoint["meta"]["dataset_meta"] = {"classes": [evil]}
    elif where == "key":
        checkpoint[evil] = 1
    else:
        checkpoint["state_dict"].attribute = evil
    torch.save(checkpoint, path)
    with pytest.raises(ICKDError, match=r"more than tensors.*trust_checkpoint=True"):
        load_checkpoint(str(path))
    assert not proof.exists()
    load_checkpoint(str(path), trust=True)
    assert proof.exists()


def test_arrays_and_histories_are_left_out(tmp_path):
    """They are no code, but a forged dtype can make addresses of bytes; nothing needs them."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    values = [np.arange(3.0), np.float32(2), np.array(["a"], object), history, slice(1, 2)]
    torch.save({"x": values, "meta": {"CLASSES": values[2]}}, tmp_path / "x.pth")
    loaded = load_checkpoint(str(tmp_path / "x.pth"))
    assert {type(value).__module__ for value in loaded["x"]} == {"mmickd.teachers.checkpoint"}
    assert classes_of(loaded) is None


def test_a_checkpoint_of_numpy_1(tmp_path):
    torch.save({"x": np.arange(3.0)}, tmp_path / "new.pth")
    rezip(
        tmp_path / "new.pth",
        tmp_path / "old.pth",
        lambda d: d.replace(b"numpy._core", b"numpy.core"),
    )
    assert list(load_checkpoint(str(tmp_path / "old.pth"))) == ["x"]


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(place=st.integers(0, 2**16), length=st.integers(0, 60), new=st.binary(max_size=8))
def test_fuzz(place, length, new):
    """Whatever bytes lie there: a dict, or one error that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pth"
        torch.save({"state_dict": net().state_dict(), "meta": {"CLASSES": ["a"]}}, path)
        data = path.read_bytes()
        at = place % len(data)
        path.write_bytes(data[:at] + new + data[at + length :])
        try:
            loaded = load_checkpoint(str(path))
        except ICKDError as error:
            assert "x.pth" in str(error)
        else:
            assert isinstance(loaded, dict)


def test_what_is_allowed_is_allowed_for_this_load_only(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.pth")
    before = len(torch.serialization.get_safe_globals())
    load_checkpoint(str(tmp_path / "x.pth"))
    assert len(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated(tmp_path, share):
    path = tmp_path / "x.pth"
    torch.save({"state_dict": net(64).state_dict()}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ICKDError, match=r"x.pth"):
        load_checkpoint(str(path))


@pytest.mark.parametrize(
    "data", [b"<html>not found</html>", b"version https://git-lfs", b"\x00" * 99]
)
def test_no_checkpoint_at_all(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(ICKDError, match=r"x.pth"):
        load_checkpoint(str(tmp_path / "x.pth"))


def test_other_than_a_dict(tmp_path):
    torch.save([torch.zeros(3)], tmp_path / "x.pth")
    with pytest.raises(ICKDError, match="holds no dict"):
        load_checkpoint(str(tmp_path / "x.pth"))


def test_paths(tmp_path):
    with pytest.raises(ICKDError, match="is not set"):
        TeacherWeights(None, False).check()
    with pytest.raises(ICKDError, match="does not exist"):
        TeacherWeights(tmp_path / "none.pth", False).check()
    with pytest.raises(ICKDError, match="does not exist"):
        TeacherWeights(str(tmp_path), False).check()
    TeacherWeights("https://example.org/x.pth", False).check()
    for wrong in (3, ["x.pth"], {}):
        with pytest.raises(ICKDError, match=r"checkpoint=.* must be a path or a URL"):
            TeacherWeights(wrong, False)
    assert TeacherWeights("https://example.org/a/x.pth?token=secret", False).name == "x.pth"
