"""Reading a teacher's weights: strictly, without running what comes along; and from a URL."""

import functools
import os
import pickle
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
    fetch,
    is_url,
    load_checkpoint,
    load_strictly,
    state_dict_of,
)
from mmickd.utils.errors import ICKDError
from tests.teachers.test_archive import rezip


def net(width=3):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


def changed(**changes):
    state = net().state_dict()
    for name, value in changes.items():
        name = name.replace("_dot_", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


@pytest.mark.parametrize(
    "value",
    [[1, 2], None, torch.zeros(3, 3, 1, 1).to_sparse(), torch.zeros(3, 3, 1, 1, device="meta")],
    ids=["list", "none", "sparse", "meta"],
)
def test_weights_that_are_no_ordinary_tensors(value):
    with pytest.raises(ICKDError, match=r"'x\.pth'"):
        load_strictly(net(), {**net().state_dict(), "0.weight": value}, "x.pth", "teacher.cfg")


def test_loads_every_weight():
    source, target = net(), net()
    load_strictly(target, source.state_dict(), "x.pth", "teacher.cfg")
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(**{"0_dot_bias": None}), "1 missing: 0.bias"),
        (changed(**{"1_dot_running_mean": None}), "1 missing: 1.running_mean"),
        (changed(**{"2_dot_weight": torch.zeros(1)}), "1 unexpected: 2.weight"),
        (
            changed(**{"0_dot_weight": torch.zeros(3, 4, 1, 1)}),
            r"1 of another shape: 0.weight \(3, 4, 1, 1\) for \(3, 3, 1, 1\)",
        ),
        ({}, "7 missing: 0.weight, .* more"),
        ({"model": net().state_dict()}, "7 missing.*1 unexpected: model"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_loaded(state, message):
    target = net()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(ICKDError, match=f"'x.pth' does not fit teacher.cfg.*{message}"):
        load_strictly(target, state, "x.pth", "teacher.cfg")
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


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
    assert is_url("http://a/b.pth") and not is_url("C:/x.pth") and not is_url("/http/x.pth")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a folder that holds teacher.pth."""
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save({"state_dict": {"weight": torch.ones(2)}}, folder / "teacher.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_url_is_downloaded_once(server: str) -> None:
    file = fetch(f"{server}/teacher.pth")
    assert torch.equal(load_checkpoint(file)["state_dict"]["weight"], torch.ones(2))
    written = Path(file).stat().st_mtime_ns
    assert fetch(f"{server}/teacher.pth") == file
    assert Path(file).stat().st_mtime_ns == written


def test_what_cannot_be_downloaded_says_what_to_do(server: str) -> None:
    with pytest.raises(ICKDError, match=r"missing\.pth cannot be downloaded .*404.* by hand"):
        fetch(f"{server}/missing.pth")


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert fetch(str(tmp_path / "x.pth")) == str(tmp_path / "x.pth")
