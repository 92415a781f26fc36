"""Choices that do not depend on order, batches, ranks or processes."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.building.collector import RowCollector
from mmickd.sampling import image_id, keyed_hash, smallest_per_class
from mmickd.structures import Samples

WORD = (1 << 64) - 1
int64 = st.integers(-(2**63), 2**63 - 1)


def splitmix(x):
    """One round on python's unbounded integers."""
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def slow_hash(seed, image, position):
    return splitmix(splitmix((seed & WORD) ^ (image & WORD)) ^ (position & WORD)) >> 1


@settings(max_examples=200)
@given(int64, int64, int64)
def test_keyed_hash_is_splitmix(seed, image, position):
    got = keyed_hash(seed, torch.tensor([image]), torch.tensor([position]))
    assert got.tolist() == [slow_hash(seed, image, position)]


def test_golden_values():
    """They stand in caches on disk: another value is another format."""
    keys = keyed_hash(0, torch.tensor([0, 1, 2**62]), torch.tensor([0, 5, 7]))
    assert keys.tolist() == [6017775124710473527, 6386683244576519787, 6725538626177122357]
    assert keyed_hash(-3, torch.tensor([9]), torch.tensor([1])).tolist() == [1092844562247883461]
    assert image_id("a/b.png") == 3040670377534444095
    assert image_id("") == 6510301506637419378


def test_the_same_in_another_process():
    code = (
        "import torch; from mmickd.sampling import *;"
        "print(image_id('x.png'), keyed_hash(3, torch.arange(3), torch.arange(3)).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    want = [slow_hash(3, i, i) for i in range(3)]
    assert run.stdout.strip().endswith(f"{image_id('x.png')} {want}")


@given(st.text(), st.text())
def test_image_id_tells_names_apart_and_fits_int64(a, b):
    assert 0 <= image_id(a) < 2**63
    assert (image_id(a) == image_id(b)) == (a == b)


def test_image_id_takes_any_file_name():
    assert image_id("bad\udcff.png") != image_id("bad.png")


def test_keys_are_uniform_and_without_collisions():
    ids = torch.arange(200)[:, None]
    keys = keyed_hash(0, ids, torch.arange(500)).flatten()
    assert keys.shape == (100_000,) and len(keys.unique()) == 100_000
    assert bool((keys >= 0).all())
    counts = torch.histc(keys.double() / 2**63, bins=20, min=0, max=1)
    # 5000 +- 69 expected in each bin; 6 sigma.
    assert bool(((counts - 5000).abs() < 6 * 69).all())
    # Smallest keys of one image say nothing of another's: no position is favoured.
    first = keyed_hash(0, ids, torch.arange(500)).argmin(dim=1)
    assert len(first.unique()) > 140  # 500 * (1 - exp(-200 / 500)) = 165 expected
    other = keyed_hash(1, ids, torch.arange(500)).argmin(dim=1)
    assert (first == other).float().mean() < 0.05


def slow_smallest(labels, keys, classes, count):
    rows = []
    for c in range(classes):
        of_class = sorted((i for i in range(len(labels)) if labels[i] == c), key=lambda i: keys[i])
        rows += of_class if count is None else of_class[:count]
    return rows


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=60),
    st.none() | st.integers(1, 10),
)
def test_smallest_per_class_equals_loop(rows, count):
    labels, keys = [r[0] for r in rows], [r[1] for r in rows]
    got = smallest_per_class(
        torch.tensor(labels, dtype=torch.long), torch.tensor(keys, dtype=torch.long), 4, count
    )
    assert got.tolist() == slow_smallest(labels, keys, 4, count)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_smallest_per_class_does_not_depend_on_the_order_of_arrival(seed, count):
    g = torch.Generator().manual_seed(seed)
    labels, keys = torch.randint(0, 4, (50,), generator=g), torch.randperm(50, generator=g)
    order = torch.randperm(50, generator=g)
    kept = smallest_per_class(labels, keys, 4, count)
    again = order[smallest_per_class(labels[order], keys[order], 4, count)]
    assert torch.equal(kept, again)


def offered(seed, count=120, classes=3):
    """Rows of 12 images, several per image and class, with their keys."""
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
    samples, keys = offered(seed)
    whole = RowCollector(3, capacity, torch.float16)
    whole.add(samples, keys)
    want = whole.finish()

    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed + 1))
    parts = RowCollector(3, capacity, torch.float16)
    start, turn, most = 0, 0, 0
    while start < len(order):
        rows = order[start : start + sizes[turn % len(sizes)]]
        parts.add(samples[rows], keys[rows])
        most = max(most, parts._held)
        start, turn = start + len(rows), turn + 1
    got = parts.finish()
    # Rows of one class and image may come in another order only if keys decide it: they do.
    for name in Samples.names():
        assert torch.equal(getattr(_canonical(got), name), getattr(_canonical(want), name)), name
    assert torch.equal(got.ids, want.ids)
    if capacity is not None:
        assert most <= 4 * capacity * 3 + max(sizes)
        assert got.max_class_size <= capacity


def _canonical(bank):
    """Rows in an order of their own values."""
    key = bank.features[:, 0].float() + 100 * bank.labels
    return bank.samples[key.argsort()]


def test_collector_keeps_the_smallest_keys_in_the_order_of_the_images():
    samples, keys = offered(3)
    collector = RowCollector(3, 5, torch.float32)
    collector.add(samples, keys)
    bank = collector.finish()
    want = slow_smallest(samples.labels.tolist(), keys.tolist(), 3, 5)
    assert sorted(bank.features[:, 0].tolist()) == sorted(samples.features[want, 0].tolist())
    for c in range(3):
        own = bank.ids[bank.labels == c]
        assert bool((own.diff() >= 0).all())


def test_collector_of_empty_parts():
    samples, keys = offered(0)
    collector = RowCollector(3, None, torch.float16)
    collector.add(samples[:0], keys[:0])
    bank = collector.finish()
    assert len(bank) == 0 and bank.features.shape == (0, 4)


def test_collector_rounds_once():
    samples, keys = offered(0)
    collector = RowCollector(3, None, torch.float16)
    collector.add(samples, keys)
    assert collector.finish().features.dtype == torch.float16
    with pytest.raises(ValueError, match="at least one part"):
        RowCollector(3, None, torch.float16).finish()
