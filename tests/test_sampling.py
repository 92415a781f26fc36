"""Sub-sampling does not depend on order, batches, ranks or processes."""

import subprocess
import sys

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.sampling import image_id, keyed_hash, smallest_per_class
from tests.helpers import slow_sampling as slow

WORD = (1 << 64) - 1
int64 = st.integers(-(2**63), 2**63 - 1)


def splitmix(x):
    """Return the result of one round, by Python's unbounded integers."""
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def slow_hash(seed, image, position):
    return splitmix(splitmix((seed & WORD) ^ (image & WORD)) ^ (position & WORD)) >> 1


@settings(max_examples=200)
@given(int64, int64, int64)
def test_keyed_hash_is_splitmix(seed, image, position):
    result = keyed_hash(seed, torch.tensor([image]), torch.tensor([position]))
    assert result.tolist() == [slow_hash(seed, image, position)]


def test_values_are_those_of_cached_banks():
    """Other values would need another format of the cache."""
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
    expected = [slow_hash(3, i, i) for i in range(3)]
    assert run.stdout.strip().endswith(f"{image_id('x.png')} {expected}")


@given(st.text(), st.text())
def test_image_ids_differ_and_fit_into_int64(a, b):
    assert 0 <= image_id(a) < 2**63
    assert (image_id(a) == image_id(b)) == (a == b)


def test_image_id_of_names_that_are_no_utf8():
    assert image_id("bad\udcff.png") != image_id("bad.png")


def test_keys_are_uniform_and_without_collisions():
    ids = torch.arange(200)[:, None]
    keys = keyed_hash(0, ids, torch.arange(500)).flatten()
    assert keys.shape == (100_000,) and len(keys.unique()) == 100_000
    assert bool((keys >= 0).all())
    counts = torch.histc(keys.double() / 2**63, bins=20, min=0, max=1)
    # 5000 +- 69 expected in each bin; 6 sigma.
    assert bool(((counts - 5000).abs() < 6 * 69).all())
    # The smallest keys of images are independent: no position is preferred.
    first = keyed_hash(0, ids, torch.arange(500)).argmin(dim=1)
    assert len(first.unique()) > 140  # 500 * (1 - exp(-200 / 500)) = 165 expected
    other = keyed_hash(1, ids, torch.arange(500)).argmin(dim=1)
    assert (first == other).float().mean() < 0.05


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=60),
    st.none() | st.integers(1, 10),
)
def test_smallest_per_class_equals_loop(rows, count):
    labels, keys = [r[0] for r in rows], [r[1] for r in rows]
    result = smallest_per_class(
        torch.tensor(labels, dtype=torch.long), torch.tensor(keys, dtype=torch.long), 4, count
    )
    assert result.tolist() == slow.smallest(labels, keys, 4, count)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_smallest_per_class_does_not_depend_on_the_order_of_rows(seed, count):
    g = torch.Generator().manual_seed(seed)
    labels, keys = torch.randint(0, 4, (50,), generator=g), torch.randperm(50, generator=g)
    order = torch.randperm(50, generator=g)
    kept = smallest_per_class(labels, keys, 4, count)
    again = order[smallest_per_class(labels[order], keys[order], 4, count)]
    assert torch.equal(kept, again)
