"""Whom the neighbours of a bank's rows call wrongly labelled."""

from __future__ import annotations

import resource
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics import label_issues as suspects
from mmickd.diagnostics.label_issues import label_issues
from mmickd.structures import NO_ID, Samples


def bank_of(features: Tensor, labels: Tensor, ids: Tensor | None = None) -> MemoryBank:
    classes = int(labels.max()) + 1
    ids = torch.arange(len(labels)) if ids is None else ids
    logits = torch.zeros(len(labels), classes)
    return MemoryBank(Samples(F.normalize(features, dim=1), logits, labels, ids), classes)


def clouds(per_class: int = 30, classes: int = 4, width: int = 16) -> tuple[Tensor, Tensor]:
    """Features around one centre for each class, and the classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        labels = torch.arange(classes).repeat_interleave(per_class)
        return 3 * torch.randn(classes, width)[labels] + torch.randn(len(labels), width), labels


def slow_suspects(bank: MemoryBank) -> dict[tuple[int, int], tuple[float, int]]:
    """The definition, row by row, of a bank with one row for each class of an image."""
    found = {}
    for row in range(len(bank)):
        others = [o for o in range(len(bank)) if o != row and bank.ids[o] != bank.ids[row]]
        near = sorted(others, key=lambda o: -float(bank.features[o] @ bank.features[row]))[:10]
        votes = torch.zeros(bank.num_classes, dtype=torch.float64)
        for other in near:
            votes[bank.labels[other]] += torch.exp(
                (bank.features[other] @ bank.features[row]).double() / 0.1
            )
        label = int(bank.labels[row])
        score = 1 - float(votes[label] / votes.sum())
        found[int(bank.ids[row]), label] = score, int(votes.argmax())
    return found


def test_scores_and_suggestions_are_those_of_the_definition() -> None:
    features, labels = clouds()
    labels[::7] = (labels[::7] + 1) % 4
    bank = bank_of(features, labels)
    found, wanted = label_issues(bank), slow_suspects(bank)
    assert len(found) == len(bank) and bool((found.scores.diff() <= 0).all())
    for image, label, suggested, score in zip(
        found.ids.tolist(), found.labels.tolist(), found.suggested, found.scores, strict=True
    ):
        assert float(score) == pytest.approx(wanted[image, label][0], abs=1e-5)
        assert int(suggested) == wanted[image, label][1]


def test_swapped_labels_come_first_and_their_own_class_is_suggested() -> None:
    features, true = clouds()
    labels = true.clone()
    wrong = torch.arange(0, len(labels), 10)
    labels[wrong] = (labels[wrong] + 1) % 4
    found = label_issues(bank_of(features, labels))
    assert set(found.ids[: len(wrong)].tolist()) == set(wrong.tolist())
    assert torch.equal(found.suggested, true[found.ids])


def test_an_image_does_not_vote_on_itself() -> None:
    # each image is two rows that are alike, and labelled wrongly as the one other image is not
    features = torch.eye(4)[[0, 0, 0, 0, 1, 1]]
    labels, ids = torch.tensor([1, 1, 0, 0, 1, 1]), torch.tensor([7, 7, 8, 9, 10, 11])
    found = label_issues(bank_of(features, labels, ids))
    assert (found.ids[0], found.labels[0], found.suggested[0]) == (7, 1, 0)
    assert float(found.scores[0]) > 0.99


def test_rows_of_one_class_of_one_image_count_together() -> None:
    features, labels = clouds(per_class=20, classes=2)
    ids = torch.arange(40)
    ids[:3] = 0  # three pixels of an image, one of which looks like the other class
    features[2] = features[30]
    bank = bank_of(features, labels, ids)
    found = label_issues(bank)
    assert len(found) == 38
    (place,) = ((found.ids == 0) & (found.labels == 0)).nonzero()[0].tolist()
    assert float(found.scores[place]) == pytest.approx(1 / 3, abs=0.05)
    assert int(found.suggested[place]) == 0, "most of its pixels"


def test_rows_of_unknown_images_are_left_out_and_a_lone_image_is_no_suspect() -> None:
    labels = torch.tensor([0, 0, 1])
    found = label_issues(bank_of(torch.eye(3), labels, torch.tensor([5, 5, 5])))
    assert found.scores.tolist() == [0, 0] and torch.equal(found.suggested, found.labels)
    assert len(label_issues(bank_of(torch.eye(3), labels, torch.full((3,), NO_ID)))) == 0


@pytest.mark.parametrize("pixels", [1, 3])
def test_the_only_image_of_its_class_is_no_suspect(pixels: int) -> None:
    features, labels = clouds(per_class=12, classes=2)
    ids = torch.arange(24)
    features = torch.cat([features, features[:1].repeat(pixels, 1)])
    labels, ids = torch.cat([labels, torch.full((pixels,), 2)]), torch.cat([ids, ids[-1:] + 1])
    ids = torch.cat([ids, ids[-1:].repeat(pixels - 1)])
    found = label_issues(bank_of(features, labels, ids))
    (place,) = (found.labels == 2).nonzero()[:, 0].tolist()
    assert (found.suggested[place], found.scores[place]) == (2, 0)


def test_where_no_row_of_its_class_votes_a_row_is_no_suspect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = clouds(per_class=40, classes=2)
    features, labels = (
        torch.cat([features, features[:2]]),
        torch.cat([labels, labels.new_tensor([2, 2])]),
    )
    monkeypatch.setattr(suspects, "COMPARED", 41)  # every second row, and the first of the two
    found = label_issues(bank_of(features, labels))
    rare = found.labels == 2
    assert sorted(found.scores[rare].tolist()) == pytest.approx([0, 1], abs=0.2)
    assert found.suggested[rare & (found.scores == 0)].tolist() == [2]


def test_pieces_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of(*clouds())
    whole = label_issues(bank)
    monkeypatch.setattr(suspects, "BLOCK_ELEMENTS", 7 * len(bank))
    assert torch.allclose(label_issues(bank).scores, whole.scores, atol=1e-6)


def test_of_a_large_bank_evenly_spaced_rows_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    features, true = clouds(per_class=100)
    labels = true.clone()
    labels[::10] = (labels[::10] + 1) % 4
    monkeypatch.setattr(suspects, "COMPARED", 100)
    found = label_issues(bank_of(features, labels))
    assert len(found) == 400
    assert set(found.ids[:40].tolist()) == set(range(0, 400, 10))


@pytest.mark.slow
def test_a_large_bank_takes_seconds_and_bounded_memory() -> None:
    features, labels = torch.randn(2**16, 256).half(), torch.arange(100).repeat(656)[: 2**16]
    bank = bank_of(features, labels.sort().values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    label_issues(bank)
    assert time.monotonic() - begin < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 * 1024
