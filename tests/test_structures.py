"""The currency of the rooms."""

import dataclasses

import pytest
import torch

from mmickd.structures import Context, Queries, Samples


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


def test_features_given_as_functions_are_made_once_and_when_asked_for():
    made = []

    def features():
        made.append(torch.randn(2, 4))
        return made[-1]

    zeros, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    none = Context.empty(zeros)
    asked = Queries(zeros, zeros, features, zeros, labels, labels >= 0, none, none, shape=(1, 2))
    assert not made and asked.shape == (1, 2) and asked.features is zeros
    assert asked.student_features is asked.student_features is made[0]
    assert len(made) == 1
    changed = Queries(zeros, zeros, features, features, labels, labels >= 0, none, none)
    other = changed.with_teacher_logits(zeros + 1)
    assert len(made) == 1 and changed.teacher_logits is zeros
    assert other.features is made[1] and changed.features is made[2]
    assert torch.equal(other.teacher_logits, zeros + 1) and other.labels is labels
    with pytest.raises(AttributeError, match="Queries have no feature"):
        asked.feature  # noqa: B018


def test_columns_of_a_context_are_its_nearest_rows():
    similarity = torch.tensor([[0.9, 0.5, 0.0]])
    mask = torch.tensor([[True, True, False]])
    context = Context(similarity, torch.zeros(1, 3, 2), mask, torch.tensor([[4, 2, -1]]))
    assert context.columns(0, 2).indices.tolist() == [[4, 2]]
    assert context.columns(1).mask.tolist() == [[True, False]]
    assert context.columns(0, 0).logits.shape == (1, 0, 2)
    assert context.found.tolist() == [True] and context.columns(2).found.tolist() == [False]
