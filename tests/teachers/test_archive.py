"""Archives that declare more than they hold are refused before torch reads them."""

import struct
import zipfile
from pathlib import Path

import pytest
import torch

from mmickd.teachers.archive import check_archive
from mmickd.teachers.checkpoint import load_checkpoint
from mmickd.utils.errors import ICKDError


def rezip(source, target, change=lambda data: data, method=zipfile.ZIP_STORED):
    """Write a checkpoint's archive anew, with a changed pickle or compressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if entry.filename.endswith(".pkl") else data)


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "good.pth"
    torch.save({"w": torch.arange(4.0), "zeros": torch.zeros(2**18)}, path)
    return path


def refused(path, match):
    with pytest.raises(ICKDError, match=match) as caught:
        load_checkpoint(str(path))
    assert path.name in str(caught.value)


def test_what_torch_writes_passes(good, tmp_path):
    check_archive(str(good))
    rezip(good, tmp_path / "again.pth")
    check_archive(str(tmp_path / "again.pth"))
    assert torch.equal(load_checkpoint(str(tmp_path / "again.pth"))["w"], torch.arange(4.0))
    torch.save({"w": 1}, good, _use_new_zipfile_serialization=False)
    check_archive(str(good))


def test_a_compressed_archive(good, tmp_path):
    path = tmp_path / "bomb.pth"
    rezip(good, path, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size * 100 < good.stat().st_size
    refused(path, "is compressed")
    assert len(load_checkpoint(str(path), trust=True)["zeros"]) == 2**18  # else it is all right


@pytest.mark.parametrize("size", [2**21, 2**31, 2**32 - 2])
def test_a_directory_that_declares_too_much(good, size):
    """The sizes in the directory; those in the entry itself are still right."""
    data = bytearray(good.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"data/1"))
    data[entry + 20 : entry + 28] = struct.pack("<2L", size, size)
    good.write_bytes(data)
    refused(good, "declares")


def test_one_entry_many_times(good):
    """A directory whose entries share their bytes."""
    with zipfile.ZipFile(good) as archive:
        begin = archive.start_dir
    data = good.read_bytes()
    one = data[data.rindex(b"PK\x01\x02", 0, data.rindex(b"data/1")) :]
    one = one[: 46 + sum(struct.unpack("<3H", one[28:34]))]
    directory = one * 1000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), begin, 0)
    good.write_bytes(data[:begin] + directory + end)
    refused(good, "declares")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"PK\x03\x04" + b"x" * 60 + data,  # readers differ in which offsets they mean
        lambda data: data + b"x",
        lambda data: data[:-2] + b"\x05\x00hello",
        lambda data: data + data,
        lambda data: data[:-22],
        lambda data: b"PK\x03\x04",
        lambda data: data[:-34] + struct.pack("<Q", 5) + data[-26:],
    ],
    ids=["prefix", "suffix", "comment", "twice", "no-end", "nothing", "end64"],
)
def test_a_directory_elsewhere(good, change):
    good.write_bytes(change(good.read_bytes()))
    with pytest.raises(ICKDError):
        check_archive(str(good))
    refused(good, "cannot be read")


@pytest.mark.parametrize("count", [5, 1000, 10**10, 10**15])
def test_a_storage_larger_than_its_record(tmp_path, count):
    """What torch would read behind the record is not the file's."""
    torch.save({"w": torch.arange(4.0)}, tmp_path / "small.pth")
    number = b"\x8a\x08" + count.to_bytes(8, "little")
    rezip(tmp_path / "small.pth", tmp_path / "x.pth", lambda d: d.replace(b"K\x04", number))
    refused(tmp_path / "x.pth", "record size")


@pytest.mark.parametrize("count", [5, 10**10, 10**15])
def test_a_tensor_larger_than_its_storage(tmp_path, count):
    torch.save({"w": torch.arange(4.0)}, tmp_path / "small.pth")
    number = b"\x8a\x08" + count.to_bytes(8, "little")
    shape = b"K\x00K\x04\x85"  # offset and size
    rezip(
        tmp_path / "small.pth",
        tmp_path / "x.pth",
        lambda d: d.replace(shape, b"K\x00" + number + b"\x85"),
    )
    refused(tmp_path / "x.pth", "cannot be read")
