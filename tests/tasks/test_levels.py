"""Queries of a batch, and rows of its images for the bank."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.sampling import keyed_hash
from mmickd.structures import View
from mmickd.tasks.levels import ImageLevel, PixelLevel, RegionLevel, balanced_choice
from tests.helpers.operations import OperationRecorder

LEVELS = {"image": ImageLevel(), "pixel": PixelLevel(), "region": RegionLevel()}


def queries(level, view, anchors, seed):
    """Return the queries of a batch, and the student's logits for them."""
    chosen = LEVELS[level].queries(view, anchors, seed)
    return chosen.samples(), chosen.student_logits.flatten(0, 1)


def rows(level, view, pixels_per_image, seed):
    return LEVELS[level].bank_rows(view, pixels_per_image, seed)


def make_view(labels, d=4, c=3, seed=0, student=True):
    """Return a view with random features; ``labels`` is a list of lists."""
    labels = torch.tensor(labels)
    g = torch.Generator().manual_seed(seed)
    batch, locations = labels.shape
    return View(
        features=torch.randn(batch, locations, d, generator=g) * 3,
        logits=torch.randn(batch, locations, c, generator=g),
        labels=labels,
        valid=labels >= 0,
        ids=torch.arange(batch) + 100,
        student_logits=torch.randn(batch, locations, c, generator=g) if student else None,
        student_features=(lambda: torch.arange(batch * locations).view(batch, locations, 1) + 1.0)
        if student
        else None,
    )


label_maps = st.integers(1, 3).flatmap(
    lambda batch: st.integers(1, 40).flatmap(
        lambda size: st.lists(
            st.lists(st.integers(-1, 3), min_size=size, max_size=size),
            min_size=batch,
            max_size=batch,
        )
    )
)


@settings(max_examples=200, deadline=None)
@given(label_maps, st.integers(1, 50), st.integers(0, 1000))
def test_balanced_choice(labels, count, seed):
    chosen = balanced_choice(torch.tensor(labels), torch.arange(len(labels)), 4, count, seed)
    size = len(labels[0])
    assert chosen.shape == (len(labels), min(count, size))
    for label_map, places in zip(labels, chosen.tolist(), strict=True):
        assert len(set(places)) == len(places)
        assert all(0 <= p < size for p in places)
        picked = [label_map[p] for p in places]
        labelled = sum(value >= 0 for value in label_map)
        # Void locations come only when no labelled one is left.
        assert sum(value >= 0 for value in picked) == min(len(places), labelled)
        present = {c: label_map.count(c) for c in range(4)}
        counts = {c: picked.count(c) for c in range(4)}
        for c in range(4):
            for other in range(4):
                # c may stay behind another class by more than a turn only if none of it is left.
                assert counts[c] >= counts[other] - 1 or counts[c] == present[c]


IDS = torch.tensor([7, 2**62, -1])


def choose(labels, seed, ids=IDS, count=50):
    return balanced_choice(labels, ids, 4, count, seed)


def test_balanced_choice_is_determined_by_its_seed():
    labels = torch.randint(-1, 4, (3, 200), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = choose(labels, 5)
    torch.manual_seed(2)
    assert torch.equal(choose(labels, 5), first)
    assert not torch.equal(choose(labels, 6), first)


def test_an_image_has_its_locations_in_any_batch():
    labels = torch.randint(-1, 4, (3, 200), generator=torch.Generator().manual_seed(0))
    together = choose(labels, 5)
    for i in range(2):
        assert torch.equal(choose(labels[i : i + 1], 5, IDS[i : i + 1])[0], together[i])
    same_map = labels[:1].repeat(3, 1)
    first, second, _ = choose(same_map, 5)
    assert not torch.equal(first, second)
    unknowns = choose(same_map, 5, torch.full((3,), -1))
    assert not torch.equal(unknowns[0], unknowns[1])  # also without ids


def test_balanced_choice_reaches_every_location():
    labels = torch.tensor([[0] * 30 + [1] * 10 + [-1] * 5])
    chosen = torch.cat([choose(labels, seed, IDS[:1], 8)[0] for seed in range(150)])
    assert set(chosen.tolist()) == set(range(40))


def test_the_fields_of_pixel_queries_belong_together():
    labels = [[0, 1, 2, -1, 0, 1], [-1, -1, -1, 1, -1, 2]]
    view = make_view(labels)
    samples, student = queries("pixel", view, 4, 0)
    assert samples.features.shape == (8, 4) and student.shape == (8, 3)
    assert torch.allclose(samples.features.norm(dim=1), torch.ones(8))
    flat = view.logits.flatten(0, 1)
    for q in range(8):
        place = int((flat == samples.logits[q]).all(dim=1).nonzero()[0, 0])
        image, location = divmod(place, 6)
        assert int(samples.labels[q]) == labels[image][location]
        assert int(samples.ids[q]) == 100 + image
        assert torch.equal(student[q], view.student_logits[image, location])
        feature = view.features[image, location]
        assert torch.allclose(samples.features[q], feature / feature.norm(), atol=1e-6)
    assert (samples.labels[4:] >= 0).sum() == 2  # the second image has two, the rest is padding


def test_image_queries():
    view = make_view([[2], [-1], [0]])
    samples, student = queries("image", view, 99, 0)
    assert samples.labels.tolist() == [2, -1, 0] and samples.ids.tolist() == [100, 101, 102]
    assert torch.equal(samples.logits, view.logits[:, 0])
    assert torch.equal(student, view.student_logits[:, 0])


@settings(max_examples=80, deadline=None)
@given(label_maps)
def test_region_means_equal_loop(labels):
    view = make_view(labels, c=4)
    samples, student = queries("region", view, 1, 0)
    batch = len(labels)
    assert len(samples) == batch * 4 == len(student)
    for image in range(batch):
        for c in range(4):
            q = image * 4 + c
            region = [i for i, value in enumerate(labels[image]) if value == c]
            assert int(samples.ids[q]) == 100 + image
            assert int(samples.labels[q]) == (c if region else -1)
            if not region:
                continue
            feature, logits, expected = (
                x[image, region].mean(dim=0)
                for x in (view.features, view.logits, view.student_logits)
            )
            assert torch.allclose(samples.features[q], feature / feature.norm(), atol=1e-5)
            assert torch.allclose(samples.logits[q], logits, atol=1e-5)
            assert torch.allclose(student[q], expected, atol=1e-5)


def test_the_students_features_are_those_of_the_chosen_locations():
    view = make_view([[0, 1, 2, -1], [1, -1, 1, 1]])
    chosen = PixelLevel().queries(view, 2, 0)
    for image in range(2):
        for query in range(2):
            place = int(chosen.student_features()[image, query]) - 1 - 4 * image
            assert torch.equal(chosen.logits[image, query], view.logits[image, place])
    means = RegionLevel().queries(view, 2, 0).student_features()
    assert torch.allclose(means[:, :, 0], torch.tensor([[1, 2, 3], [0, (5 + 7 + 8) / 3, 0]]))


def test_region_queries_of_a_void_image_are_finite():
    view = make_view([[-1, -1]])
    samples, student = queries("region", view, 1, 0)
    assert samples.labels.tolist() == [-1] * 3
    for tensor in (samples.features, samples.logits, student):
        assert bool(torch.isfinite(tensor).all())


@pytest.mark.parametrize("level", ["pixel", "region"])
def test_gradients_reach_the_students_pixels(level):
    view = make_view([[0, 1, -1, 0]])
    view.student_logits.requires_grad_()
    samples, student = queries(level, view, 4, 0)
    student[samples.labels >= 0].sum().backward()
    assert (view.student_logits.grad.abs().sum(dim=2) > 0).tolist() == [[True, True, False, True]]


@settings(max_examples=100, deadline=None)
@given(label_maps, st.integers(1, 6), st.integers(0, 3))
def test_pixel_rows(labels, most, seed):
    view = make_view(labels, c=4, student=False)
    samples, keys = rows("pixel", view, most, seed)
    size = len(labels[0])
    flat = view.logits.flatten(0, 1)
    kept = {}
    for r in range(len(samples)):
        place = int((flat == samples.logits[r]).all(dim=1).nonzero()[0, 0])
        image, location = divmod(place, size)
        label = labels[image][location]
        assert label >= 0 and int(samples.labels[r]) == label
        assert int(samples.ids[r]) == 100 + image
        key = keyed_hash(seed, torch.tensor(100 + image), torch.tensor(location))
        assert int(keys[r]) == int(key)
        kept.setdefault((image, label), set()).add(location)
    for image, label_map in enumerate(labels):
        for c in range(4):
            places = [i for i, value in enumerate(label_map) if value == c]
            by_key = sorted(
                places,
                key=lambda i, image=image: int(
                    keyed_hash(seed, torch.tensor(100 + image), torch.tensor(i))
                ),
            )
            assert kept.get((image, c), set()) == set(by_key[:most])


def test_rows_of_an_image_do_not_depend_on_its_batch():
    labels = torch.randint(-1, 3, (3, 30), generator=torch.Generator().manual_seed(0)).tolist()
    view = make_view(labels, student=False)
    _, keys = rows("pixel", view, 4, 0)
    parts = []
    for i in (2, 0, 1):
        alone = View(
            *(getattr(view, n)[i : i + 1] for n in ("features", "logits", "labels", "valid", "ids"))
        )
        parts += rows("pixel", alone, 4, 0)[1].tolist()
    assert sorted(parts) == sorted(keys.tolist()) and len(set(parts)) == len(parts)


def test_image_and_region_rows_have_a_label():
    image, keys = rows("image", make_view([[2], [-1], [0]], student=False), 16, 0)
    assert image.labels.tolist() == [2, 0] and image.ids.tolist() == [100, 102]
    assert keys.tolist() == keyed_hash(0, torch.tensor([100, 102]), torch.tensor(0)).tolist()
    region, keys = rows("region", make_view([[0, 0, 2], [-1, 1, -1]], student=False), 16, 0)
    assert region.labels.tolist() == [0, 2, 1] and region.ids.tolist() == [100, 100, 101]
    assert len(set(keys.tolist())) == 3


@pytest.mark.parametrize("level", ["pixel", "region"])
def test_a_void_image_gives_no_row(level):
    samples, keys = rows(level, make_view([[-1, -1]], student=False), 16, 0)
    assert len(samples) == len(keys) == 0 and samples.features.shape == (0, 4)


def test_the_last_turn_favours_no_class() -> None:
    """One anchor for classes of 1000, 1 and 10 locations: each comes first as often."""
    labels = torch.cat([torch.zeros(1000), torch.ones(1), torch.full((10,), 2.0)]).long()[None]
    counts = torch.zeros(3)
    for seed in range(600):
        chosen = balanced_choice(labels, IDS[:1], 3, 1, seed)
        counts[labels[0, chosen[0, 0]]] += 1
    assert counts.min() > 150


@pytest.mark.parametrize("level", LEVELS)
def test_no_float64_which_not_every_device_has(level):
    view = make_view([[0, 1, -1, 2, 0, 0], [1, 1, 1, -1, -1, -1]])
    with OperationRecorder() as operations:
        queries(level, view, 4, seed=3)
        rows(level, view, 2, seed=3)
    assert operations.dtypes and torch.float64 not in operations.dtypes
