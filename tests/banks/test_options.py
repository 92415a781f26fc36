"""Options of the hook's ``bank``; the errors of a whole run are tested in tests/runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from mmickd.banks.options import FROZEN_ONLY, BankOptions
from mmickd.utils.errors import OptionError

OTHER: dict[str, Any] = dict(
    cache_dir="elsewhere",
    cache_limit=1,
    dtype="fp32",
    capacity_per_class=7,
    pixels_per_image=3,
    max_images=5,
    seed=1,
    pipeline=[],
    batch_size=2,
    num_workers=3,
    shard=True,
    momentum=0.5,
)
"""A value of every option that is not its default."""


def test_every_option_has_another_value():
    defaults = BankOptions()
    assert list(OTHER) == [field.name for field in fields(BankOptions)]
    assert all(getattr(defaults, name) != value for name, value in OTHER.items())


@pytest.mark.parametrize("name", OTHER)
def test_the_fingerprint_depends_on_options_that_decide_the_rows_alone(name: str):
    """Another folder, limit or batch does not change the rows; the pipeline is its own field."""
    deciding = {"dtype", "capacity_per_class", "pixels_per_image", "max_images", "seed"}
    other = BankOptions(**{name: OTHER[name]})
    assert (other.cache_key(None) != BankOptions().cache_key(None)) == (name in deciding)


def test_the_option_overrides_the_capacity_of_the_level():
    assert BankOptions().capacity(4096) == 4096 and BankOptions().capacity(None) is None
    options = BankOptions(capacity_per_class=64)
    assert options.capacity(4096) == options.capacity(None) == 64
    same = BankOptions(capacity_per_class=4096)
    assert BankOptions().cache_key(4096) == same.cache_key(None)


def test_queue_capacity():
    assert BankOptions().queue_capacity == 128
    assert BankOptions(capacity_per_class=9).queue_capacity == 9


def test_stored_dtype():
    assert BankOptions().stored_dtype == torch.float16
    assert BankOptions(dtype="fp32").stored_dtype == torch.float32


@pytest.mark.parametrize("name", OTHER)
def test_options_of_frozen_banks_are_unused_by_queues_once_they_are_set(name: str):
    assert BankOptions().unused_by_queues == []
    unused = BankOptions(**{name: OTHER[name]}).unused_by_queues
    assert unused == ([name] if name in FROZEN_ONLY else [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache_dir", ""),
        ("cache_dir", "a\0"),
        ("cache_dir", b"x"),
        ("cache_limit", 1e300),
        ("num_workers", 1025),
        ("seed", 10**400),
        ("pipeline", "LoadImageFromFile"),
        ("pipeline", 3),
    ],
)
def test_invalid_values(name: str, value: object):
    with pytest.raises(OptionError, match=rf"^{name}="):
        BankOptions(**{name: value})


def test_the_error_has_option_and_value():
    with pytest.raises(OptionError) as caught:
        BankOptions(momentum=1.5)
    assert (caught.value.name, caught.value.value) == ("momentum", 1.5)
