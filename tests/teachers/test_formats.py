"""What is no whole checkpoint is called by its name."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from mmickd.teachers.checkpoint import load_checkpoint
from mmickd.teachers.formats import fault_of_file, is_safetensors
from mmickd.utils.errors import ICKDError


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n<html>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
            "is a pointer .*git lfs pull",
        ),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "is an ONNX model"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "is an HDF5 file"),
        (scripted(), "is a TorchScript model"),
        (pickle.dumps({"weight": [1.0]}), "is no file of torch.save or safetensors"),
        (b'{"error": "not found"}', "is no file of torch.save or safetensors"),
        (b"\xff" * 8 + b"{", "is no file of torch.save or safetensors"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_other_files(tmp_path: Path, data: bytes, match: str, trust: bool) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    with pytest.raises(ICKDError, match=rf"x\.pth' {match}") as caught:
        load_checkpoint(str(path), trust)
    assert "trust" not in str(caught.value)


def test_what_torch_and_safetensors_write(tmp_path: Path) -> None:
    state = {"weight": torch.arange(3.0)}
    for number, data in enumerate((
        saved(state),
        saved(state, _use_new_zipfile_serialization=False),
        safetensors.torch.save(state, metadata={"format": "pt"}),
    )):  # fmt: skip
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        assert fault_of_file(path) == ""
        assert is_safetensors(path) is (number == 2)
        assert torch.equal(load_checkpoint(str(path))["weight"], state["weight"])


def test_a_cut_file_of_safetensors(tmp_path: Path) -> None:
    data = safetensors.torch.save({"weight": torch.ones(99)})
    for length in (9, 50, len(data) - 1):
        (tmp_path / "x.safetensors").write_bytes(data[:length])
        with pytest.raises(ICKDError, match=r"x\.safetensors' ") as caught:
            load_checkpoint(str(tmp_path / "x.safetensors"))
        assert "trust" not in str(caught.value)


@pytest.mark.parametrize("trust", [False, True])
def test_every_flipped_bit_of_a_tensor_is_noticed(tmp_path: Path, trust: bool) -> None:
    weight = torch.randn(999)
    data = saved({"state_dict": {"weight": weight}})
    begin, draw = data.index(weight.numpy().tobytes()), random.Random(0)
    for _ in range(40):
        damaged = bytearray(data)
        damaged[begin + draw.randrange(4 * 999)] ^= 1 << draw.randrange(8)
        (tmp_path / "x.pth").write_bytes(damaged)
        with pytest.raises(ICKDError, match=r"x\.pth' is damaged: the checksum .*data/0"):
            load_checkpoint(str(tmp_path / "x.pth"), trust)


def test_an_archive_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(2)}, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert fault_of_file(tmp_path / "x.pth") == ""


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "cannot be read" in fault_of_file(tmp_path / "none.pth")
    assert "cannot be read" in fault_of_file(tmp_path)
