"""Files of a cache that others changed are refused: no hang, no crash, no large allocation."""

import fcntl
import json
import os
import resource
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mmickd.banks import MemoryBank
from mmickd.storage.bank_files import TENSORS, fingerprint_of
from mmickd.storage.cache import BankCache
from mmickd.storage.files import MANIFEST, MAX_MANIFEST_BYTES
from mmickd.structures import Samples
from tests.helpers.stored_banks import CACHE_KEY, make_bank, rejected, rewrite


@pytest.fixture
def stored(tmp_path):
    cache = BankCache(tmp_path / "cache")
    return cache, cache.save(make_bank(), CACHE_KEY)


@pytest.mark.parametrize("size", [MAX_MANIFEST_BYTES + 1, 2**40])
def test_a_large_manifest_is_not_read(stored, size):
    cache, folder = stored
    os.truncate(folder / MANIFEST, size)  # a sparse file: it takes no room on the disk
    assert "is larger than" in rejected(cache)
    rejected(cache, {**CACHE_KEY, "images": "x"})


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
@pytest.mark.parametrize("target", ["/dev/zero", "/dev/stdin", "copy", "pipe"])
def test_links_and_pipes_are_refused(stored, name, target):
    cache, folder = stored
    copy = folder.parent.parent / "copy"
    (folder / name).rename(copy)
    if target == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(copy if target == "copy" else target)
    assert "cannot be read" in rejected(cache)
    rejected(cache, {**CACHE_KEY, "images": "x"})


def test_a_folder_that_leads_elsewhere_is_neither_read_nor_written(stored):
    cache, folder = stored
    elsewhere = folder.parent.parent / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert "is a link" in rejected(cache)
    before = {path: path.read_bytes() for path in elsewhere.iterdir()}
    with pytest.raises(OSError, match="is a link"):
        cache.save(make_bank(seed=1), CACHE_KEY)
    cache.try_save(make_bank(seed=1), CACHE_KEY)
    assert {path: path.read_bytes() for path in elsewhere.iterdir()} == before


@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "..", "a/b", "\x00", "x" * 9999])
def test_no_field_moves_the_folder(tmp_path, text):
    cache = BankCache(tmp_path)
    folder = cache.folder({text: text, "level": text})
    assert folder.parent == tmp_path and len(folder.name) == 24 and folder.name.isalnum()


def test_a_number_of_classes_that_the_file_does_not_hold(stored):
    """Bincount and offsets have this size: 10**9 classes would be 8 GB each."""
    cache, folder = stored
    empty = {name: tensor[:0].clone() for name, tensor in load_file(folder / TENSORS).items()}
    empty["logits"] = torch.empty(0, 10**9, dtype=torch.float16)
    rewrite(folder, empty, num_classes=10**9, rows=0)
    assert "num_classes" in rejected(cache)

    unbound = {"level": "image"}  # the fields do not have the number of classes
    folder = cache.save(make_bank(), unbound)
    rewrite(folder, empty, num_classes=10**9, rows=0)
    assert "rows in manifest.json" in rejected(cache, unbound)
    rewrite(folder, empty, num_classes=10**9, rows=20)
    assert "[0, " in rejected(cache, unbound)


def test_a_header_of_more_rows_than_bytes(stored):
    cache, folder = stored
    rows = 10**12
    sizes = {"features": ("F16", [rows, 5]), "logits": ("F16", [rows, 3])}
    sizes |= {"labels": ("I64", [rows]), "ids": ("I64", [rows])}
    header, at = {}, 0
    for name, (dtype, shape) in sizes.items():
        end = at + torch.Size(shape).numel() * (2 if dtype == "F16" else 8)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    (folder / TENSORS).write_bytes(struct.pack("<Q", len(text)) + text + b"\x00" * 64)
    rewrite(folder, rows=rows)
    assert "cannot be read (SafetensorError" in rejected(cache)


def change_value(name, value):
    def change(tensors):
        tensors[name][3, 1] = value

    return change


CHANGES = {
    "nan features": change_value("features", float("nan")),
    "inf features": change_value("features", float("inf")),
    "nan logits": change_value("logits", float("nan")),
    "double": lambda t: t.update(features=t["features"].double(), logits=t["logits"].double()),
    "bf16": lambda t: t.update(features=t["features"].bfloat16(), logits=t["logits"].bfloat16()),
    "two dtypes": lambda t: t.update(logits=t["logits"].float()),
    "int features": lambda t: t.update(features=t["features"].short()),
    "int32 labels": lambda t: t.update(labels=t["labels"].int()),
    "int32 ids": lambda t: t.update(ids=t["ids"].int()),
    "wide ids": lambda t: t.update(ids=t["ids"][:, None].clone()),
    "short ids": lambda t: t.update(ids=t["ids"][:-1].clone()),
    "scalar labels": lambda t: t.update(labels=t["labels"][0].clone()),
    "no width": lambda t: t.update(features=t["features"][:, :0].clone()),
    "negative label": lambda t: t["labels"].fill_(-1),
    "large label": lambda t: t["labels"].fill_(2**62),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tensors_with_other_values_or_dtypes(stored, name):
    cache, folder = stored
    tensors = {key: tensor.clone() for key, tensor in load_file(folder / TENSORS).items()}
    CHANGES[name](tensors)
    rewrite(folder, tensors)
    assert "cannot be read (ValueError" in rejected(cache)


def test_rows_that_are_not_sorted_are_refused(stored):
    cache, folder = stored
    tensors = {name: tensor.flip(0) for name, tensor in load_file(folder / TENSORS).items()}
    rewrite(folder, tensors)
    assert "not sorted" in rejected(cache)


def test_a_bank_of_another_width_than_the_teachers_is_refused(stored):
    cache, _ = stored
    bank, line = cache.load(CACHE_KEY, width=6)
    assert bank is None and "features" in line and "[20, 5]" in line
    assert len(cache.load(CACHE_KEY, width=5)[0]) == 20


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_bank_of_another_dtype_than_its_fields_say_is_refused(tmp_path, dtype):
    cache = BankCache(tmp_path)
    cache_key = {**CACHE_KEY, "dtype": str(dtype)}
    folder = cache.save(make_bank(dtype), cache_key)
    assert cache.load(cache_key)[0].features.dtype == dtype
    other = torch.float32 if dtype == torch.float16 else torch.float16
    tensors = load_file(folder / TENSORS)
    rewrite(folder, {n: t.to(other) if t.is_floating_point() else t for n, t in tensors.items()})
    assert "features" in rejected(cache, cache_key)


def test_more_rows_than_the_capacity_are_refused(tmp_path):
    cache, bank = BankCache(tmp_path), make_bank()
    for capacity in (bank.max_class_size, bank.max_class_size - 1):
        cache.save(bank, {**CACHE_KEY, "capacity_per_class": str(capacity)})
    assert cache.load({**CACHE_KEY, "capacity_per_class": str(bank.max_class_size)})[0] is not None
    line = rejected(cache, {**CACHE_KEY, "capacity_per_class": str(bank.max_class_size - 1)})
    assert "more than its capacity" in line


def test_a_file_is_flushed_through_a_handle_that_can_write(tmp_path, monkeypatch):
    """Windows refuses any other: nothing would ever be cached there."""
    flush = os.fsync

    def strict(handle):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError("Bad file descriptor")
        flush(handle)

    monkeypatch.setattr(os, "fsync", strict)
    BankCache(tmp_path).save(make_bank(), CACHE_KEY)


@pytest.mark.parametrize(
    "manifest",
    [{"format": "1\n2" * 9999}, {"num_classes": "\n"}, {"rows": True}, {"fields": {"a\nb": 1}}],
)
def test_a_manifest_cannot_make_the_message_long_or_of_two_lines(stored, manifest):
    cache, folder = stored
    rewrite(folder, **manifest)
    for cache_key in (CACHE_KEY, {**CACHE_KEY, "images": "other"}):
        assert len(rejected(cache, cache_key)) < 999


def test_names_of_tensors_cannot_make_the_message_long_or_of_two_lines(stored):
    cache, folder = stored
    tensors = dict(load_file(folder / TENSORS))
    save_file({**tensors, "x\n" * 9999: torch.zeros(1)}, folder / TENSORS)
    rewrite(folder)
    assert len(rejected(cache)) < 999


def test_a_full_disk_is_an_oserror_and_leaves_no_files(tmp_path):
    cache = BankCache(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OSError):
            cache.save(make_bank(), CACHE_KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.fixture(scope="module")
def template():
    """A cache with one bank, and the bytes of its files."""
    with tempfile.TemporaryDirectory() as root:
        cache = BankCache(root)
        folder = cache.save(make_bank(), CACHE_KEY)
        yield cache, {name: (folder / name).read_bytes() for name in (MANIFEST, TENSORS)}


@st.composite
def byte_changes(draw):
    """A function that flips, cuts or splices bytes."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat", "drop"]))
    # half of them in the first bytes, which are the header
    place = draw(st.one_of(st.integers(0, 400), st.integers(0, 2**16)))
    other, byte = draw(st.integers(0, 99)), draw(st.integers(1, 255))
    text = draw(st.binary(min_size=1, max_size=8))

    def change(data):
        at = place % len(data)
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ byte]) + data[at + 1 :]
        if kind == "cut":
            return data[:at]
        if kind == "insert":
            return data[:at] + text + data[at:]
        piece = data[at : at + other]
        return data[:at] + piece * (2 if kind == "repeat" else 0) + data[at + other :]

    return change


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(
    name=st.sampled_from([MANIFEST, TENSORS]),
    changes=st.lists(byte_changes(), min_size=1, max_size=3),
    has_right_checksum=st.booleans(),
)
def test_fuzz(template, name, changes, has_right_checksum):
    """Changed bytes give no bank or the original; with a right checksum, no bank or a valid one."""
    cache, files = template
    folder = Path(cache.folder(CACHE_KEY))
    for path, data in files.items():
        (folder / path).write_bytes(data)
    data = files[name]
    for change in changes:
        data = change(data) if data else data
    (folder / name).write_bytes(data)
    has_right_checksum = has_right_checksum and name == TENSORS
    if has_right_checksum:
        rewrite(folder)
    bank, line = cache.load(CACHE_KEY)
    assert "\n" not in line and len(line) < 999
    if bank is None:
        return
    original = make_bank()
    assert isinstance(bank, MemoryBank) and bank.num_classes == 3 and len(bank) == 20
    assert bool(torch.isfinite(bank.features).all())
    for tensor in () if has_right_checksum else Samples.names():
        assert torch.equal(getattr(bank, tensor), getattr(original, tensor))


def test_fingerprint_of_fields():
    assert fingerprint_of({"a": 1, "b": "x"}) == fingerprint_of({"b": "x", "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})
    assert len(fingerprint_of({})) == 24
