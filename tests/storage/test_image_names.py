"""Names of images beside a bank: right names or an error; training does not need them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.banks import MemoryBank
from mmickd.sampling import image_id
from mmickd.storage.cache import BankCache
from mmickd.storage.files import MANIFEST, sha256
from mmickd.storage.image_names import CHECKSUM, NAMES, add_names, read_names
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError
from tests.helpers.stored_banks import CACHE_KEY

PATHS = ["data/cat/0.png", "data/dog/1.png", "data/dog/2.png"]


def bank_of(names: list[str]) -> MemoryBank:
    count = len(names)
    ids = torch.tensor([image_id(name) for name in names], dtype=torch.long)
    return MemoryBank(
        Samples(torch.eye(count, 3), torch.eye(count, 3), torch.arange(count), ids), 3
    )


def cache_of(root: Path) -> BankCache:
    return BankCache(root, names=lambda: PATHS)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[BankCache, Path]:
    cache = cache_of(tmp_path / "cache")
    return cache, cache.save(bank_of(PATHS), CACHE_KEY)


def make_old(folder: Path) -> None:
    """Make the folder one of an earlier version."""
    (folder / NAMES).unlink()
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest[CHECKSUM]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def overwrite(text: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / NAMES).write_bytes(text) and None


def put_a_link(folder: Path) -> None:
    (folder / NAMES).rename(folder.parent / "elsewhere")
    (folder / NAMES).symlink_to(folder.parent / "elsewhere")


def put_a_pipe(folder: Path) -> None:
    (folder / NAMES).unlink()
    os.mkfifo(folder / NAMES)


def put_a_folder(folder: Path) -> None:
    (folder / NAMES).unlink()
    (folder / NAMES).mkdir()


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "old": (make_old, "an earlier version"),
    "missing": (lambda folder: (folder / NAMES).unlink(), "No such file"),
    "truncated": (lambda folder: os.truncate(folder / NAMES, 20), "altered"),
    "empty": (overwrite(b""), "altered"),
    "names swapped": (overwrite(b'"data/dog/1.png"\n"data/cat/0.png"\n'), "altered"),
    "no text": (overwrite(b"\xff\x00" * 99), "altered"),
    "link": (put_a_link, ""),
    "pipe": (put_a_pipe, "no regular file"),
    "folder": (put_a_folder, ""),
}


@pytest.mark.parametrize("how", CHANGES)
def test_changed_names_are_an_error_and_the_bank_stays(
    stored: tuple[BankCache, Path], how: str
) -> None:
    cache, folder = stored
    change, reason = CHANGES[how]
    change(folder)
    with pytest.raises(ICKDError, match=rf"image names .*\(.*{reason}.*`mmickd bank CONFIG`"):
        read_names(folder)
    assert len(cache.load(CACHE_KEY)[0] or ()) == 3
    if how != "folder":
        assert [entry.fault() for entry in cache.entries()] == [""]
        cache.complete(CACHE_KEY)
        assert sorted(read_names(folder).values()) == PATHS
        assert len(cache.load(CACHE_KEY)[0] or ()) == 3


def test_valid_names_are_left_as_they_are(stored: tuple[BankCache, Path]) -> None:
    cache, folder = stored
    before = (folder / NAMES).stat().st_ino, (folder / MANIFEST).stat().st_ino
    cache.complete(CACHE_KEY)
    assert before == ((folder / NAMES).stat().st_ino, (folder / MANIFEST).stat().st_ino)


@pytest.mark.parametrize("text", ["3\n", "[]\n", '"a"', '"x"\n{', '"\\ud800"\n', "null\n", "\n"])
def test_a_forged_checksum_gives_no_wrong_name(stored: tuple[BankCache, Path], text: str) -> None:
    """The id is the hash of the name, so a name cannot belong to another id."""
    cache, folder = stored
    (folder / NAMES).write_text(text)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest[CHECKSUM] = sha256(folder / NAMES)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        names = read_names(folder)
    except ICKDError:
        names = {}
    assert not set(names) & {image_id(name) for name in PATHS}
    assert cache.load(CACHE_KEY)[0] is not None


def test_killed_between_names_and_manifest(stored: tuple[BankCache, Path]) -> None:
    cache, folder = stored
    before = (folder / MANIFEST).read_bytes()
    add_names(folder, ["other.png"])
    (folder / MANIFEST).write_bytes(before)
    with pytest.raises(ICKDError, match="altered"):
        read_names(folder)
    cache.complete(CACHE_KEY)
    assert sorted(read_names(folder).values()) == PATHS


def test_names_are_a_part_of_the_entry(stored: tuple[BankCache, Path]) -> None:
    cache, folder = stored
    (folder / f".{NAMES}.x").write_text("being written")
    (entry,) = cache.entries()
    assert entry.nbytes == sum(file.stat().st_size for file in folder.iterdir())
    assert {NAMES, f".{NAMES}.x"} <= set(entry.names)
    assert entry.remove() and not folder.exists()


def test_names_of_a_missing_folder_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ICKDError, match="image names"):
        read_names(tmp_path / "none")
    with pytest.raises(OSError):
        cache_of(tmp_path).complete(CACHE_KEY)


# Letters of a Linux path in Python: all but NUL; bytes that are no UTF-8 are surrogates.
path_letters = st.one_of(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
    st.sampled_from('\n\r\u2028\x85\x1c"\\/'),
)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.lists(st.text(path_letters, min_size=1), min_size=2, max_size=3, unique=True))
def test_names_of_any_letters(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        bank = bank_of(names)
        folder = BankCache(root, names=lambda: names).save(bank, CACHE_KEY)
        stored = read_names(folder)
        assert [stored[number] for number in bank.ids.tolist()] == names
        lines = (folder / NAMES).read_bytes().splitlines()
        assert len(lines) == len(names) and all(line.isascii() for line in lines)
