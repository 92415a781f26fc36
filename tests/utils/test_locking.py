"""File locks: one of two runs builds a bank, the other waits and reads it; dead runs hold none."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock, SoftFileLock, Timeout

from mmickd.storage.cache import BankCache
from mmickd.storage.entry import lock_of
from mmickd.utils import locking
from mmickd.utils.locking import locked
from tests.helpers.stored_banks import CACHE_KEY, make_bank

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0


class Run:
    """Process of ``lock_user.py`` whose output is read while it runs."""

    def __init__(self, root, mode):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.lock_user", str(root), mode],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def until(self, word):
        """Wait for a line with ``word``, and return it."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            for line in list(self.lines):
                if word in line:
                    return line
            assert self.process.poll() is None or self._reader.is_alive(), self.lines
            time.sleep(0.05)
        raise AssertionError(f"no '{word}' in {self.lines}")

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def start(tmp_path):
    """Function that starts runs with one cache; they are ended after the test."""
    runs = []

    def started(mode):
        runs.append(Run(tmp_path, mode))
        return runs[-1]

    yield started
    for run in runs:
        run.process.kill()
        run.process.wait()


@pytest.fixture
def logged(monkeypatch):
    """Lines that this process logs."""
    lines = []
    monkeypatch.setattr(locking, "print_log", lambda line, **_: lines.append(line))
    return lines


def test_the_second_run_waits_and_reads_what_the_first_wrote(tmp_path, start):
    first = start("build")
    first.until("held")
    second = start("load")
    line = second.until("Waiting for")
    assert f"the image bank {BankCache(tmp_path).folder(CACHE_KEY)}" in line
    assert str(lock_of(BankCache(tmp_path).folder(CACHE_KEY))) in line
    time.sleep(1)
    assert not any("bank from" in line or "Building" in line for line in second.lines)
    first.go_on()
    second.until("memory bank from")
    second.until("free")
    first.until("free")
    bank, _ = BankCache(tmp_path).load(CACHE_KEY)
    assert torch.equal(bank.features, make_bank(seed=7).features)


def test_a_killed_run_with_workers_releases_its_lock(start):
    """Workers are forked while the lock is held; they must not keep it after their run dies."""
    first = start("workers")
    first.until("held")
    second = start("load")
    second.until("Waiting for")
    first.process.kill()
    # at once where filelock closes the workers' copies, else when torch ends orphaned workers
    second.until("Building: no bank")


def test_without_waiting_a_held_lock_yields_false(tmp_path):
    path = tmp_path / "x.lock"
    with locked(path) as free, locked(path) as again:
        assert free and not again
    with locked(path) as free:
        assert free


def test_the_lock_is_released_when_the_block_fails(tmp_path):
    path = tmp_path / "x.lock"
    with pytest.raises(KeyError), locked(path, "x"):
        raise KeyError
    with locked(path) as free:
        assert free


def test_the_reminder_is_repeated(tmp_path, monkeypatch, logged):
    monkeypatch.setattr(locking, "REMIND_SECONDS", 0.01)
    holder = FileLock(tmp_path / "x.lock", thread_local=False)
    holder.acquire()

    def release_later():
        while len(logged) < 3:
            time.sleep(0.01)
        holder.release()

    thread = threading.Thread(target=release_later)
    thread.start()
    with locked(tmp_path / "x.lock", "the bank"):
        thread.join()
    assert len(logged) >= 3 and all("Waiting for the bank" in line for line in logged)


def test_each_bank_has_its_lock(tmp_path):
    cache = BankCache(tmp_path)
    with cache.lock(CACHE_KEY), cache.lock({**CACHE_KEY, "level": "pixel"}):
        assert len(list(tmp_path.iterdir())) == 2
    assert not cache.folder(CACHE_KEY).exists()  # the lock does not lie in the bank's folder


@pytest.mark.parametrize("place", ["file/cache/x.lock", "l" * 300, "folder", "link"])
def test_a_place_without_locks_does_not_stop_the_run(tmp_path, place):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with locked(tmp_path / place, "x"), locked(tmp_path / place) as free:
        assert free
    assert (tmp_path / "file").read_text() == "precious"


def test_a_lock_file_that_never_appears_is_not_waited_for(tmp_path, monkeypatch, logged):
    """Filelock reports 'no such file' as 'held by another process', on /proc for example."""

    def held(self, **_):
        raise Timeout(self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", held)
    with locked(tmp_path / "x.lock", "x"):
        pass
    assert logged == []


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_kernel_without_locks(tmp_path, monkeypatch):
    """filelock would then create a file that a killed run leaves for ever; we use no lock."""
    import fcntl

    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    path = tmp_path / "x.lock"
    for _ in range(2):
        with locked(path, "x"):
            assert not path.exists()
    stale = SoftFileLock(path)
    stale.acquire()
    with locked(path, "x"):
        pass
    stale.release()
