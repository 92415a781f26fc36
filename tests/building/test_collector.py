"""The rows of a bank do not depend on their order, batches or pruning."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.building.collector import RowCollector
from mmickd.sampling import keyed_hash
from mmickd.structures import Samples
from mmickd.utils import distributed
from tests.helpers import slow_sampling as slow

CHUNK_BYTES = 80
"""Size of 10 rows of 4 features in fp16."""


def rows_and_keys(seed, count=120, classes=3):
    """Return rows of 12 images, several per image and class, with their keys."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.arange(count) % 12 + 50
    samples = Samples(
        torch.randn(count, 4, generator=g),
        torch.randn(count, classes, generator=g),
        torch.randint(0, classes, (count,), generator=g),
        ids,
    )
    return samples, keyed_hash(seed, ids, torch.arange(count))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.none() | st.integers(1, 60),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
def test_collector_does_not_depend_on_order_batches_or_pruning(seed, capacity, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "CHUNK_BYTES", CHUNK_BYTES)
        check_order_batches_and_pruning(seed, capacity, sizes)


def check_order_batches_and_pruning(seed, capacity, sizes):
    samples, keys = rows_and_keys(seed)
    whole = RowCollector(3, capacity, torch.float16)
    whole.add(samples, keys)
    expected = whole.finish()

    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed + 1))
    parts = RowCollector(3, capacity, torch.float16)
    start, turn, most = 0, 0, 0
    while start < len(order):
        rows = order[start : start + sizes[turn % len(sizes)]]
        parts.add(samples[rows], keys[rows])
        most = max(most, len(parts))
        start, turn = start + len(rows), turn + 1
    result = parts.finish()
    for name in Samples.names():
        assert torch.equal(
            getattr(_canonical(result), name), getattr(_canonical(expected), name)
        ), name
    assert torch.equal(result.ids, expected.ids)
    if capacity is not None:
        rows_per_block = CHUNK_BYTES // 8
        assert most <= len(result) * 9 / 8 + rows_per_block + max(sizes)
        assert result.max_class_size <= capacity


def _canonical(bank):
    """Return the rows sorted by class and first feature."""
    key = bank.features[:, 0].float() + 100 * bank.labels
    return bank.samples[key.argsort()]


def test_collector_keeps_the_smallest_keys_in_the_order_of_the_images():
    samples, keys = rows_and_keys(3)
    collector = RowCollector(3, 5, torch.float32)
    collector.add(samples, keys)
    bank = collector.finish()
    expected = slow.smallest(samples.labels.tolist(), keys.tolist(), 3, 5)
    assert sorted(bank.features[:, 0].tolist()) == sorted(samples.features[expected, 0].tolist())
    for c in range(3):
        assert bool((bank.ids[bank.labels == c].diff() >= 0).all())


def test_collector_of_empty_parts():
    samples, keys = rows_and_keys(0)
    collector = RowCollector(3, None, torch.float16)
    collector.add(samples[:0], keys[:0])
    bank = collector.finish()
    assert len(bank) == 0 and bank.features.shape == (0, 4)


def test_stored_dtype_and_nothing_added():
    samples, keys = rows_and_keys(0)
    collector = RowCollector(3, None, torch.float16)
    collector.add(samples, keys)
    assert collector.finish().features.dtype == torch.float16
    with pytest.raises(ValueError, match="add must be called"):
        RowCollector(3, None, torch.float16).finish()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.none() | st.integers(1, 30))
def test_any_order_and_any_parts_give_the_same_rows(data, capacity):
    samples, keys = rows_and_keys(data.draw(st.integers(0, 10**6)), count=40)
    order = torch.tensor(data.draw(st.permutations(range(40))))
    cuts = sorted(data.draw(st.lists(st.integers(0, 40), max_size=5)))
    whole, parts = (RowCollector(3, capacity, torch.float32) for _ in range(2))
    whole.add(samples, keys)
    for start, end in pairwise([0, *cuts, 40]):  # some parts are empty
        parts.add(samples[order[start:end]], keys[order[start:end]])
    expected, result = whole.finish(), parts.finish()
    for name in (*Samples.names(), "offsets"):
        assert torch.equal(getattr(result, name), getattr(expected, name)), name


def test_a_class_with_few_rows_keeps_them_all():
    samples, keys = rows_and_keys(0)
    labels = torch.where(torch.arange(len(samples)) < 3, 2, 0)
    collector = RowCollector(4, 5, torch.float32)
    logits = torch.zeros(len(samples), 4)
    collector.add(Samples(samples.features, logits, labels, samples.ids), keys)
    assert collector.finish().offsets.diff().tolist() == [5, 0, 3, 0]
