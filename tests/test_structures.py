"""The currency of the rooms."""

import dataclasses

import pytest
import torch

from mmickd.structures import Samples


def samples(q=4, d=3, c=2):
    return Samples(torch.randn(q, d), torch.randn(q, c), torch.arange(q), torch.arange(q) + 10)


def test_names_are_in_the_order_of_the_constructor():
    assert Samples.names() == ("features", "logits", "labels", "ids")


def test_rows_by_slice_index_and_mask():
    all_of_them = samples()
    assert len(all_of_them) == 4
    for rows, want in [
        (slice(1, 3), [1, 2]),
        (torch.tensor([3, 0]), [3, 0]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (slice(0, 0), []),
    ]:
        part = all_of_them[rows]
        assert part.labels.tolist() == want
        assert part.ids.tolist() == [w + 10 for w in want]
        assert torch.equal(part.features, all_of_them.features[want])
        assert part.logits.shape == (len(want), 2)


def test_cat():
    a, b = samples(3), samples(2)
    both = Samples.cat([a, b, a[:0]])
    assert len(both) == 5 and torch.equal(both.features[3:], b.features)
    with pytest.raises(ValueError, match="at least one"):
        Samples.cat([])


def test_to_keeps_every_tensor():
    moved = samples().to("meta")
    assert {getattr(moved, name).device.type for name in Samples.names()} == {"meta"}


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        samples().labels = torch.zeros(4)


@pytest.mark.parametrize(
    "change",
    [
        dict(features=torch.zeros(3, 3)),
        dict(features=torch.zeros(4)),
        dict(logits=torch.zeros(4, 2, 1)),
        dict(labels=torch.zeros(4, 1, dtype=torch.long)),
        dict(labels=torch.zeros(5, dtype=torch.long)),
        dict(ids=torch.zeros(1, dtype=torch.long)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change):
    given = {name: getattr(samples(), name) for name in Samples.names()}
    with pytest.raises(ValueError):
        Samples(**{**given, **change})
