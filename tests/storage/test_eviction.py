"""The cache stays below its limit; banks in use and files of others are not removed."""

import os
import threading
import time

import pytest

from mmickd.storage import bank_files
from mmickd.storage import cache as module
from mmickd.storage.bank_files import TENSORS
from mmickd.storage.cache import GIB, BankCache
from mmickd.storage.entry import lock_of
from mmickd.storage.files import MANIFEST
from mmickd.storage.image_names import NAMES
from tests.helpers.stored_banks import CACHE_KEY, make_bank

DAY = 24 * 3600


def cache_key(number):
    return {**CACHE_KEY, "images": str(number)}


def age(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture
def logged(monkeypatch):
    lines = []

    def collect(line, **_):
        if "cached in" not in line:
            lines.append(line)

    monkeypatch.setattr(module, "print_log", collect)
    return lines


@pytest.fixture
def filled(tmp_path):
    """A cache with four banks, number 3 used longest ago, and the bytes of one."""
    cache = BankCache(tmp_path, limit=None)
    for number in range(4):
        age(cache.save(make_bank(), cache_key(number)) / MANIFEST, days=number + 1)
    return cache, cache.entries()[0].nbytes


def numbers(cache):
    """Numbers of the banks in the cache."""
    return {n for n in range(9) if cache.load(cache_key(n))[0] is not None}


def test_the_least_recently_used_are_removed(filled, logged):
    cache, nbytes = filled
    assert cache.load(cache_key(3))[0] is not None  # used now
    cache.limit = 3.5 * nbytes / GIB
    cache.try_save(make_bank(), cache_key(8))
    assert numbers(cache) == {0, 3, 8}
    assert len(logged) == 2  # one line per removal
    for number, line in zip((2, 1), logged, strict=True):
        assert f"Removed the memory bank {cache.folder(cache_key(number))}" in line
        assert "bank.cache_limit" in line
    assert not any(lock_of(cache.folder(cache_key(n))).exists() for n in (1, 2))


@pytest.mark.parametrize("limit", [None, 50.0])
def test_below_the_limit_nothing_is_removed(filled, logged, limit):
    cache, _ = filled
    cache.limit = limit
    cache.try_save(make_bank(), cache_key(8))
    assert numbers(cache) == {0, 1, 2, 3, 8} and logged == []


def test_the_bank_just_written_stays_even_if_it_is_too_large(filled, logged):
    cache, nbytes = filled
    cache.limit = 0.5 * nbytes / GIB
    cache.try_save(make_bank(), cache_key(8))
    assert numbers(cache) == {8}
    assert "bank.cache_limit" in logged[-1]


def test_a_locked_bank_stays(filled, logged):
    cache, nbytes = filled
    cache.limit = 1.5 * nbytes / GIB
    with cache.lock(cache_key(3)), cache.lock(cache_key(8)):
        cache.try_save(make_bank(), cache_key(8))
        assert numbers(cache) == {3, 8}
    cache.try_save(make_bank(), cache_key(8))
    assert numbers(cache) == {8}


def write_other_files(root):
    """Files and folders that are no bank, though some look like one."""
    first, second, link = (root / (letter * 24) for letter in "abc")
    for folder in (first, second / TENSORS):
        folder.mkdir(parents=True)
    for file in (first / MANIFEST, first / "notes.txt", root / "README", root / ("d" * 24)):
        file.write_text("x" * 10_000)
    precious = root / "precious"
    precious.mkdir()
    (precious / MANIFEST).write_text("{}")
    (precious / TENSORS).write_text("x" * 10_000)
    link.symlink_to(precious)
    (root / "not-a-fingerprint.lock").write_text("")
    for path in root.rglob("*"):
        if not path.is_symlink():
            age(path, 30)
    return sorted(path for path in root.rglob("*"))


def test_other_files_are_left_alone(tmp_path):
    paths = write_other_files(tmp_path)
    cache = BankCache(tmp_path, limit=1e-9)
    cache.try_save(make_bank(), CACHE_KEY)
    cache.prune(lambda entry: True)
    assert sorted(tmp_path.rglob("*")) == paths


def test_a_link_in_a_bank_is_removed_and_not_followed(tmp_path):
    cache = BankCache(tmp_path / "cache")
    folder = cache.save(make_bank(), CACHE_KEY)
    precious = tmp_path / "precious"
    precious.write_text("x")
    (folder / TENSORS).unlink()
    (folder / TENSORS).symlink_to(precious)
    assert cache.prune(lambda entry: True)[0][1]
    assert not folder.exists() and precious.read_text() == "x"


def test_unfinished_banks_are_removed_after_a_day(filled, logged):
    cache, _ = filled
    target = cache.folder(cache_key(8))
    target.mkdir()
    half, young = cache.folder(cache_key(5)), cache.folder(cache_key(6))
    files = [half / TENSORS, half / f".{MANIFEST}.x", half / f".{NAMES}.v", young / f".{TENSORS}.y"]
    for file in [*files, target / f".{TENSORS}.z", cache.folder(cache_key(1)) / f".{TENSORS}.w"]:
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
        if file.parent != young:
            age(file, 2)
            age(file.parent, 2)
    lock, new_lock = (lock_of(cache.folder(cache_key(n))) for n in (4, 7))
    lock.write_text("")
    new_lock.write_text("")
    age(lock, 2)
    cache.try_save(make_bank(), cache_key(8))
    assert not half.exists() and not lock.exists()
    assert (young / f".{TENSORS}.y").exists() and new_lock.exists()
    assert numbers(cache) == {0, 1, 2, 3, 8}
    assert len(logged) == 1 and str(half) in logged[0]
    cache.try_save(make_bank(), cache_key(1))  # leftovers go when a bank is written again
    for folder in (target, cache.folder(cache_key(1))):
        assert sorted(path.name for path in folder.iterdir()) == [TENSORS, NAMES, MANIFEST]


def test_the_lock_of_a_run_that_builds_stays(tmp_path):
    cache = BankCache(tmp_path)
    with cache.lock(cache_key(1)):
        age(lock_of(cache.folder(cache_key(1))), 2)
        cache.try_save(make_bank(), cache_key(2))
        assert lock_of(cache.folder(cache_key(1))).exists()


def test_many_runs_save_evict_and_read_the_same_banks(tmp_path, logged):
    """Each reads a right bank or builds it."""
    right, failures = make_bank(), []
    BankCache(tmp_path).save(right, cache_key(0))
    limit = 1.5 * BankCache(tmp_path).entries()[0].nbytes / GIB

    def work(seed):
        cache = BankCache(tmp_path, limit=limit)
        try:
            for step in range(25):
                cache_key_of_bank = cache_key((seed + step) % 3)
                with cache.lock(cache_key_of_bank):
                    bank, _ = cache.load(cache_key_of_bank)
                    if bank is None:
                        cache.try_save(right, cache_key_of_bank)
                    elif not bool((bank.features == right.features).all()):
                        failures.append("another bank")
                cache.load(cache_key((seed + step + 1) % 3))  # without a lock, as a reader may
        except BaseException as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(logged) > 5


def test_a_bank_can_be_removed_twice(filled):
    cache, _ = filled
    entry = cache.entries()[0]
    assert entry.remove() and entry.remove()


@pytest.mark.parametrize("step", ["sha256", "_read_tensors"])
def test_a_reader_whose_bank_is_removed_builds_it_anew(filled, monkeypatch, step):
    """It is removed after the manifest, or the checksum, has been read."""
    cache, _ = filled
    victim, inner = cache.folder(cache_key(0)), getattr(bank_files, step)

    def remove_first(*args):
        assert len(cache.prune(lambda entry: entry.folder == victim)) == 1
        return inner(*args)

    with monkeypatch.context() as patch:
        patch.setattr(bank_files, step, remove_first)
        bank, line = cache.load(cache_key(0))
    assert bank is None and "cannot be read" in line
    assert cache.load(cache_key(0))[0] is None


def test_prune(filled):
    cache, nbytes = filled
    removed = cache.prune(lambda entry: False, limit=2.5 * nbytes / GIB, dry_run=True)
    assert len(removed) == 2 and numbers(cache) == {0, 1, 2, 3}
    for number in range(4):  # loading has changed their times
        age(cache.folder(cache_key(number)) / MANIFEST, days=number + 1)
    old = time.time() - 3.5 * DAY
    removed = cache.prune(lambda entry: entry.used < old, limit=2.5 * nbytes / GIB)
    assert [is_gone for _, is_gone in removed] == [True, True] and numbers(cache) == {0, 1}
    with cache.lock(cache_key(0)):
        assert sorted(is_gone for _, is_gone in cache.prune(lambda entry: True)) == [False, True]
    assert numbers(cache) == {0}
