"""A valid bank of the cache is used; any other is built and cached."""

import torch

from mmickd.storage.bank_files import TENSORS
from mmickd.storage.cache import BankCache
from mmickd.storage.get_or_build import get_or_build_banks
from tests.helpers.stored_banks import make_bank

CACHE_KEY = {"pixel": {"level": "pixel", "a": 1}, "region": {"level": "region", "a": 1}}


class Builder:
    def __init__(self):
        self.calls = []

    def __call__(self, levels):
        self.calls.append(levels)
        return {level: make_bank(seed=len(level)) for level in levels}


def test_only_what_is_missing_is_built(tmp_path):
    cache = BankCache(tmp_path)
    first, second, third = Builder(), Builder(), Builder()
    banks = get_or_build_banks(CACHE_KEY, cache, first)
    assert list(banks) == ["pixel", "region"] and first.calls == [["pixel", "region"]]
    again = get_or_build_banks(CACHE_KEY, cache, second)
    assert second.calls == []
    for level in CACHE_KEY:
        assert torch.equal(again[level].features, banks[level].features)

    (cache.folder(CACHE_KEY["region"]) / TENSORS).write_bytes(b"broken")
    repaired = get_or_build_banks(CACHE_KEY, cache, third)
    assert third.calls == [["region"]] and list(repaired) == ["pixel", "region"]
    assert cache.load(CACHE_KEY["region"])[0] is not None


def test_without_a_cache_everything_is_built():
    builder = Builder()
    get_or_build_banks(CACHE_KEY, None, builder)
    get_or_build_banks(CACHE_KEY, None, builder)
    assert builder.calls == [["pixel", "region"]] * 2


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    banks = get_or_build_banks(CACHE_KEY, BankCache(tmp_path / "file" / "cache"), Builder())
    assert len(banks["pixel"]) == 20
