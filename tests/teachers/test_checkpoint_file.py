"""Files that are no complete checkpoint are refused before torch reads them."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from mmickd.teachers.checkpoint import load_checkpoint
from mmickd.teachers.checkpoint_file import fault_of_file, is_safetensors
from mmickd.utils.errors import ICKDError
from tests.helpers.teachers import rezip


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def assert_refused(path: Path, match: str, trust: bool = False) -> None:
    with pytest.raises(ICKDError, match=rf"{path.name}' .*{match}") as caught:
        load_checkpoint(str(path), trust)
    assert "trust" not in str(caught.value)  # trusting would not help


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n<html>", "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git lfs pull"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5"),
        (scripted(), "TorchScript"),
        (pickle.dumps({"weight": [1.0]}), "no file of torch.save or safetensors"),
        (b'{"error": "not found"}', "no file of torch.save or safetensors"),
        (b"\xff" * 8 + b"{", "no file of torch.save or safetensors"),
        (b"\x00" * 99, "no file of torch.save or safetensors"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_other_formats(tmp_path: Path, data: bytes, match: str, trust: bool) -> None:
    (tmp_path / "x.pth").write_bytes(data)
    assert_refused(tmp_path / "x.pth", match, trust)


def test_files_of_torch_and_safetensors_pass(tmp_path: Path) -> None:
    state = {"weight": torch.arange(3.0)}
    for number, data in enumerate((
        saved(state),
        saved(state, _use_new_zipfile_serialization=False),
        safetensors.torch.save(state, metadata={"format": "pt"}),
    )):  # fmt: skip
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        assert fault_of_file(path, check_sizes=True) == ""
        assert is_safetensors(path) is (number == 2)
        assert torch.equal(load_checkpoint(str(path))["weight"], state["weight"])


def test_truncated_safetensors(tmp_path: Path) -> None:
    data = safetensors.torch.save({"weight": torch.ones(99)})
    for length in (9, 50, len(data) - 1):
        (tmp_path / "x.safetensors").write_bytes(data[:length])
        assert_refused(tmp_path / "x.safetensors", "")


@pytest.mark.parametrize("trust", [False, True])
def test_a_flipped_bit_of_a_tensor_is_detected(tmp_path: Path, trust: bool) -> None:
    weight = torch.randn(999)
    data = saved({"state_dict": {"weight": weight}})
    begin, draw = data.index(weight.numpy().tobytes()), random.Random(0)
    for _ in range(40):
        damaged = bytearray(data)
        damaged[begin + draw.randrange(4 * 999)] ^= 1 << draw.randrange(8)
        (tmp_path / "x.pth").write_bytes(damaged)
        assert_refused(tmp_path / "x.pth", "checksum .*data/0", trust)


def test_an_archive_without_checksums_passes(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(2)}, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert fault_of_file(tmp_path / "x.pth", check_sizes=True) == ""


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "cannot be read" in fault_of_file(tmp_path / "none.pth")
    assert "cannot be read" in fault_of_file(tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive.pth"
    torch.save({"w": torch.arange(4.0), "zeros": torch.zeros(2**18)}, path)
    return path


def test_an_archive_that_was_written_anew_passes(archive: Path, tmp_path: Path) -> None:
    rezip(archive, tmp_path / "again.pth")
    assert torch.equal(load_checkpoint(str(tmp_path / "again.pth"))["w"], torch.arange(4.0))


def test_a_compressed_archive(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    rezip(archive, path, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size * 100 < archive.stat().st_size
    assert_refused(path, "is compressed")
    assert len(load_checkpoint(str(path), trust=True)["zeros"]) == 2**18  # nothing else is wrong


@pytest.mark.parametrize("size", [2**21, 2**31, 2**32 - 2])
def test_a_directory_that_declares_larger_entries(archive: Path, size: int) -> None:
    """Only the directory is changed: the entry itself still has its true sizes."""
    data = bytearray(archive.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"data/1"))
    data[entry + 20 : entry + 28] = struct.pack("<2L", size, size)
    archive.write_bytes(data)
    assert_refused(archive, "declares")


def test_a_directory_whose_entries_share_their_bytes(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        begin = file.start_dir
    data = archive.read_bytes()
    entry = data[data.rindex(b"PK\x01\x02", 0, data.rindex(b"data/1")) :]
    entry = entry[: 46 + sum(struct.unpack("<3H", entry[28:34]))]
    directory = entry * 1000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), begin, 0)
    archive.write_bytes(data[:begin] + directory + end)
    assert_refused(archive, "declares")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"PK\x03\x04" + b"x" * 60 + data,  # readers differ in the meaning of offsets
        lambda data: data + b"x",
        lambda data: data[:-2] + b"\x05\x00hello",
        lambda data: data + data,
        lambda data: data[:-22],
        lambda data: b"PK\x03\x04",
        lambda data: data[:-34] + struct.pack("<Q", 5) + data[-26:],
    ],
    ids=["prefix", "suffix", "comment", "twice", "no-end", "nothing", "end64"],
)
def test_a_directory_at_another_place(archive: Path, change: Callable[[bytes], bytes]) -> None:
    archive.write_bytes(change(archive.read_bytes()))
    assert_refused(archive, "cannot be read")


SHAPE = b"K\x00K\x04\x85"
"""Pickled offset 0 and size (4,) of a tensor."""


@pytest.mark.parametrize("count", [5, 1000, 10**10, 10**15])
@pytest.mark.parametrize(
    ("before", "after", "match"),
    [(b"K\x04", b"%s", "record size"), (SHAPE, b"K\x00%s\x85", "cannot be read")],
    ids=["storage larger than its record", "tensor larger than its storage"],
)
def test_larger_tensors_than_bytes(
    tmp_path: Path, count: int, before: bytes, after: bytes, match: str
) -> None:
    """Otherwise torch would read memory behind the file's bytes."""
    torch.save({"w": torch.arange(4.0)}, tmp_path / "small.pth")
    number = b"\x8a\x08" + count.to_bytes(8, "little")
    rezip(tmp_path / "small.pth", tmp_path / "x.pth", lambda d: d.replace(before, after % number))
    assert_refused(tmp_path / "x.pth", match)
