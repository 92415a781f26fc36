"""Folders below somebody's home directory."""

from pathlib import Path

import pytest

from mmickd.storage.cache import BankCache
from mmickd.storage.home import default_cache_dir, expanded
from mmickd.utils.errors import ICKDError


def test_the_home_directory_is_filled_in(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/banks") == tmp_path / "banks"
    assert expanded("banks") == Path("banks") and expanded(tmp_path) == tmp_path


def test_a_home_directory_that_is_not_there(monkeypatch):
    """As of a user id without an entry, in a container."""
    with pytest.raises(ICKDError, match=r"cached in '~nobody-here/x'.*Set bank\.cache_dir"):
        BankCache("~nobody-here/x")
    monkeypatch.setenv("MMICKD_CACHE_DIR", "~nobody-here")
    with pytest.raises(ICKDError, match="MMICKD_CACHE_DIR"):
        default_cache_dir()
