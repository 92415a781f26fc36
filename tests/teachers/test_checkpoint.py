"""Reading a teacher's checkpoint without running code that it holds."""

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
from tests.helpers.teachers import rezip


def net(width=3):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


def test_weights_with_and_without_wrappers():
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
    with pytest.raises(ICKDError, match=r"state_dict|missing"):
        load_strictly(net(), state_dict_of(checkpoint), "x.pth", "teacher.cfg")


def test_classes_of_both_versions_of_mmengine():
    assert classes_of({"meta": {"dataset_meta": {"classes": ["a", "b"]}}}) == ("a", "b")
    assert classes_of({"meta": {"CLASSES": ("a", "b")}}) == ("a", "b")
    for meta in (None, {}, [1], {"dataset_meta": None}, {"dataset_meta": "x"}):
        assert classes_of({"meta": meta}) is None
    assert classes_of({}) is classes_of({"meta": {"CLASSES": torch.zeros(2)}}) is None


def test_a_checkpoint_of_mmengine_needs_no_trust(tmp_path):
    """It holds a message hub, an optimizer and schedulers."""
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
    """Object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Getattr:
    """Object that is pickled as a method of another object, like the methods of a HistoryBuffer."""

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
    load_checkpoint(str(path), trust=True)  # the payload works
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
def test_getattr_of_another_object_is_refused(tmp_path, owner, name):
    torch.save({"x": Getattr(owner, name)}, tmp_path / "evil.pth")
    with pytest.raises(ICKDError, match="trust_checkpoint"):
        load_checkpoint(str(tmp_path / "evil.pth"))


class Command(Payload):
    """Object that runs a program when it is unpickled."""

    def __reduce__(self):
        return (os.system, (f"touch '{self.path}'",))


@pytest.mark.parametrize("where", ["optimizer", "message_hub", "meta", "key", "state"])
def test_a_program_is_refused_at_any_place(tmp_path, where):
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
    """They hold no code, but a forged dtype can turn bytes into addresses."""
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
    """Any damaged file gives a dict, or an error that names the file."""
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


def test_classes_are_allowed_for_one_load_only(tmp_path):
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


def test_a_checkpoint_that_is_no_dict(tmp_path):
    torch.save([torch.zeros(3)], tmp_path / "x.pth")
    with pytest.raises(ICKDError, match="holds no dict"):
        load_checkpoint(str(tmp_path / "x.pth"))


def test_paths(tmp_path):
    with pytest.raises(ICKDError, match="not set"):
        TeacherWeights(None, False).check()
    for path in (tmp_path / "none.pth", str(tmp_path)):
        with pytest.raises(ICKDError, match="does not exist"):
            TeacherWeights(path, False).check()
    TeacherWeights("https://example.org/x.pth", False).check()
    for value in (3, ["x.pth"], {}):
        with pytest.raises(ICKDError, match=r"checkpoint=.* path or a URL"):
            TeacherWeights(value, False)
    assert TeacherWeights("https://example.org/a/x.pth?token=secret", False).name == "x.pth"
