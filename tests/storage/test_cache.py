"""A bank from the cache is the one that was written, or None with the reason."""

import json
import os
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmickd.storage.bank_files import FORMAT_VERSION, TENSORS
from mmickd.storage.cache import BankCache
from mmickd.storage.files import MANIFEST, default_cache_dir
from mmickd.storage.image_names import NAMES
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError
from tests.helpers.stored_banks import CACHE_KEY, make_bank, rejected, rewrite


@pytest.fixture
def stored(tmp_path):
    """A cache with one bank, and the bank's folder."""
    cache = BankCache(tmp_path / "cache")
    return cache, cache.save(make_bank(), CACHE_KEY)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_round_trip_is_exact(tmp_path, dtype):
    cache, bank = BankCache(tmp_path), make_bank(dtype)
    folder = cache.save(bank, CACHE_KEY)
    again, line = BankCache(str(tmp_path)).load(dict(reversed(CACHE_KEY.items())))
    assert str(folder) in line
    for name in (*Samples.names(), "offsets"):
        a, b = getattr(again, name), getattr(bank, name)
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert again.num_classes == 3
    assert sorted(p.name for p in folder.iterdir()) == [TENSORS, NAMES, MANIFEST]


def test_the_time_of_the_manifest_is_that_of_the_last_use(stored):
    cache, folder = stored
    os.utime(folder / MANIFEST, (1, 1))
    rejected(cache, {**CACHE_KEY, "images": "x"})
    assert (folder / MANIFEST).stat().st_mtime == 1  # read, not used
    assert cache.load(CACHE_KEY)[0] is not None
    assert time.time() - (folder / MANIFEST).stat().st_mtime < 3600


def test_descriptions_for_people_do_not_change_the_fingerprint(tmp_path):
    named = BankCache(tmp_path, description={"teacher_checkpoint": "../../iter_9.pth"})
    folder = named.save(make_bank(), CACHE_KEY)
    assert folder == BankCache(tmp_path).folder(CACHE_KEY)
    assert BankCache(tmp_path).load(CACHE_KEY)[0] is not None
    assert json.loads((folder / MANIFEST).read_text())["about"] == named.description


def test_saving_twice_replaces(stored):
    cache, folder = stored
    cache.save(make_bank(seed=1), CACHE_KEY)
    assert torch.equal(cache.load(CACHE_KEY)[0].features, make_bank(seed=1).features)
    assert len(list(cache.root.iterdir())) == 1 and len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_truncated(stored, keep):
    cache, folder = stored
    data = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(data[:keep])
    assert "truncated or was altered" in rejected(cache)


def test_one_flipped_bit_anywhere(stored):
    cache, folder = stored
    data = (folder / TENSORS).read_bytes()
    for at in (0, 9, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        (folder / TENSORS).write_bytes(changed)
        assert "truncated or was altered" in rejected(cache)
    (folder / TENSORS).write_bytes(data)
    assert cache.load(CACHE_KEY)[0] is not None


def test_another_format(stored):
    cache, folder = stored
    rewrite(folder, format=FORMAT_VERSION + 1)
    assert f"is of format {FORMAT_VERSION + 1}" in rejected(cache)


@pytest.mark.parametrize(
    "cache_key", [{**CACHE_KEY, "images": "other"}, {}, {**CACHE_KEY, "more": 1}]
)
def test_a_folder_that_holds_another_bank(stored, cache_key):
    cache, folder = stored
    rewrite(folder, fields=cache_key)
    assert "is of another" in rejected(cache)


@pytest.mark.parametrize("cache_key", [None, [], "text", 3])
def test_a_manifest_whose_fields_are_no_dict(stored, cache_key):
    cache, folder = stored
    rewrite(folder, fields=cache_key)
    rejected(cache)


@pytest.mark.parametrize(
    "text",
    ["", "{", "not json", "[]", "null", "3", "{}", '{"format": 1}', "\x00", "[" * 100_000],
)
def test_an_invalid_manifest(stored, text):
    cache, folder = stored
    (folder / MANIFEST).write_text(text)
    assert str(folder) in rejected(cache)
    # The search for the nearest bank goes on, too.
    rejected(cache, {**CACHE_KEY, "images": "x"})


def test_a_manifest_that_is_no_text(stored):
    cache, folder = stored
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00{")
    assert "cannot be read" in rejected(cache)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_missing_file_and_a_folder_in_its_place(stored, name):
    cache, folder = stored
    (folder / name).unlink()
    assert "cannot be read" in rejected(cache)
    (folder / name).mkdir()
    assert "cannot be read" in rejected(cache)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("ids"),
        lambda t: t.update(more=torch.zeros(3)),
        lambda t: t.update(labels=t["labels"][:-1].clone()),
        lambda t: t.update(labels=t["labels"] + 2),
        lambda t: t.update(labels=t["labels"].float()),
        lambda t: t.update(labels=t["labels"][:, None].clone()),
        lambda t: t.update(logits=t["logits"][:, :2].clone()),
        lambda t: t.update(features=t["features"][None].clone()),
        lambda t: t.clear(),
    ],
    ids=["missing", "extra", "short", "range", "float", "shape", "width", "three", "none"],
)
def test_other_tensors_than_a_bank_has(stored, change):
    """They are refused even with the right checksum."""
    cache, folder = stored
    tensors = load_file(folder / TENSORS)
    change(tensors)
    rewrite(folder, tensors)
    assert "cannot be read" in rejected(cache)


@pytest.mark.parametrize("num_classes", [2, 4, -1, 10**12, "x", None, [3]])
def test_manifest_with_another_number_of_classes(stored, num_classes):
    cache, folder = stored
    rewrite(folder, num_classes=num_classes)
    assert "cannot be read" in rejected(cache)


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 99)
        + b'{"features":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,64000]}}  '
        + b"        ",
        b"\x80\x04\x95",
    ],
    ids=["longer-than-memory", "longer-than-file", "empty", "huge-shape", "pickle"],
)
def test_a_false_header(stored, header):
    cache, folder = stored
    (folder / TENSORS).write_bytes(header)
    rewrite(folder)
    assert "cannot be read" in rejected(cache)


def test_what_a_killed_writer_leaves_is_no_bank(stored):
    cache, folder = stored
    good = {p.name: p.read_bytes() for p in folder.iterdir()}
    states = [
        {f".{TENSORS}.abc": good[TENSORS]},  # before the first rename
        {TENSORS: good[TENSORS]},  # between the two
        {TENSORS: good[TENSORS], f".{MANIFEST}.abc": good[MANIFEST]},
        {f".{TENSORS}.abc": good[TENSORS][:100], f".{MANIFEST}.abc": b""},
    ]
    for files in states:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        assert "cannot be read" in rejected(cache)
        cache.save(make_bank(), CACHE_KEY)  # and the next run repairs it
        assert cache.load(CACHE_KEY)[0] is not None


def test_an_old_manifest_with_new_tensors_is_refused(stored):
    """Killed while it replaced a bank: the manifest is still the old one."""
    cache, folder = stored
    manifest = (folder / MANIFEST).read_bytes()
    cache.save(make_bank(seed=1), CACHE_KEY)
    (folder / MANIFEST).write_bytes(manifest)
    assert "truncated or was altered" in rejected(cache)


def test_a_failing_writer_leaves_no_files(tmp_path, monkeypatch):
    cache = BankCache(tmp_path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmickd.storage.bank_files.save_file", full)
    with pytest.raises(OSError, match="No space"):
        cache.save(make_bank(), CACHE_KEY)
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


def test_no_cache_folder_yet(tmp_path):
    line = rejected(BankCache(tmp_path / "none"))
    assert "no bank of this teacher and data set" in line and "nearest" not in line


def test_the_nearest_bank_is_named(stored):
    cache, folder = stored
    cache.save(make_bank(), {**CACHE_KEY, "teacher_weights": "x", "images": "y"})
    line = rejected(cache, {**CACHE_KEY, "images": "new"})
    assert f"the nearest bank, {folder}, has another images" in line
    line = rejected(cache, {**CACHE_KEY, "teacher_weights": "x", "images": "new"})
    assert "has another images" in line and str(folder) not in line


@pytest.mark.parametrize("where", ["below-a-file", "name-too-long"])
def test_a_folder_that_cannot_be_made(tmp_path, where, caplog):
    """Root may write anywhere, so these are places where files are impossible."""
    (tmp_path / "file").write_text("")
    root = tmp_path / ("file/cache" if where == "below-a-file" else "x" * 300)
    cache = BankCache(root)
    rejected(cache)
    with pytest.raises(OSError):
        cache.save(make_bank(), CACHE_KEY)


def test_try_save_returns_a_finding_and_continues(tmp_path):
    (tmp_path / "file").write_text("")
    finding = BankCache(tmp_path / "file" / "cache").try_save(make_bank(), CACHE_KEY)
    assert finding is not None and finding.code == "bank_not_cached"
    assert "bank.cache_dir" in finding.text
    assert BankCache(tmp_path / "cache").try_save(make_bank(), CACHE_KEY) is None


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MMICKD_CACHE_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.setenv("MMICKD_CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "mmickd"
    assert BankCache("~/x").root == tmp_path / "x" and BankCache("x").root == Path("x")


def test_an_unknown_home_directory_is_an_error(monkeypatch):
    """The user id of a container may have none."""
    with pytest.raises(ICKDError, match=r"'~no-such-user/x'.*bank\.cache_dir"):
        BankCache("~no-such-user/x")
    monkeypatch.setenv("MMICKD_CACHE_DIR", "~no-such-user")
    with pytest.raises(ICKDError, match="MMICKD_CACHE_DIR"):
        default_cache_dir()
