"""Data structures that the folders exchange."""

import dataclasses

import pytest
import torch

from mmickd.structures import NO_LABEL, Context, Queries, Samples


def samples(q=4, d=3, c=2):
    return Samples(torch.randn(q, d), torch.randn(q, c), torch.arange(q), torch.arange(q) + 10)


def test_names_are_in_the_order_of_the_constructor():
    assert Samples.names() == ("features", "logits", "labels", "ids")


def test_rows_by_slice_index_and_mask():
    whole = samples()
    assert len(whole) == 4
    for rows, expected in [
        (slice(1, 3), [1, 2]),
        (torch.tensor([3, 0]), [3, 0]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (slice(0, 0), []),
    ]:
        part = whole[rows]
        assert part.labels.tolist() == expected
        assert part.ids.tolist() == [i + 10 for i in expected]
        assert torch.equal(part.features, whole.features[expected])
        assert part.logits.shape == (len(expected), 2)


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
    with pytest.raises(ValueError):
        dataclasses.replace(samples(), **change)


class Lazy:
    """A function of features that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return torch.randn(2, 4)


def test_lazy_features_are_computed_once_when_they_are_first_read():
    logits, lazy = torch.zeros(2, 3), Lazy()
    queries = Queries(logits, logits, lazy, logits, shape=(1, 2))
    assert queries.features is logits and lazy.calls == 0
    assert queries.student_features is queries.student_features and lazy.calls == 1


def test_replace_computes_no_lazy_features_and_keeps_them():
    """dataclasses.replace reads every field: a lazy one would copy a whole feature map."""
    logits, student, teacher = torch.zeros(2, 3), Lazy(), Lazy()
    queries = Queries(logits, logits, student, teacher, torch.tensor([0, 1]), shape=(1, 2))
    copy = dataclasses.replace(queries, teacher_logits=logits + 1)
    assert student.calls == teacher.calls == 0
    assert torch.equal(copy.teacher_logits, logits + 1) and queries.teacher_logits is logits
    assert copy.labels is queries.labels and copy.shape == (1, 2)
    assert copy.features.shape == copy.student_features.shape == (2, 4)
    assert student.calls == teacher.calls == 1
    assert dataclasses.replace(copy, features=logits).features is logits


def test_queries_need_no_more_than_logits():
    logits = torch.zeros(2, 3)
    queries = Queries(logits, logits)
    assert queries.labels.tolist() == [NO_LABEL] * 2 and queries.valid.tolist() == [True] * 2
    assert queries.positives.mask.shape == queries.negatives.mask.shape == (2, 0)
    assert queries.shape == (2, 1)
    with pytest.raises(ValueError, match="student_features"):
        queries.student_features  # noqa: B018


def test_the_best_rows_of_a_context_are_its_first_ones():
    mask = torch.tensor([[True, True, False], [False] * 3])
    indices = torch.where(mask, torch.tensor([[4, 2, 0]]), -1)
    context = Context(mask * 0.5, torch.zeros(2, 3, 2), mask, indices)
    assert context.best(2).indices.tolist() == [[4, 2], [-1, -1]]
    assert context.best(None).mask.tolist() == mask.tolist()
    assert context.best(0).logits.shape == (2, 0, 2)
    assert context.has_rows.tolist() == [True, False]
    assert context.best(0).has_rows.tolist() == [False, False]
