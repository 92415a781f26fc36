"""Levels: which queries a batch asks, and which rows an image gives to the bank.

Pure functions of a :class:`~mmickd.tasks.view.View`, of fixed output shape and without a host
synchronisation where they run in a training step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.sampling import keyed_hash, smallest_per_class
from mmickd.structures import NO_LABEL, Samples
from mmickd.tasks.view import View

LEVELS = ("image", "pixel", "region")


def queries(level: str, view: View, anchors: int, seed: int) -> tuple[Samples, Tensor]:
    """Queries of a batch at one level.

    Args:
        level: one of :data:`LEVELS`.
        view: the batch, with student logits.
        anchors: pixels per image (level 'pixel').
        seed: of the pixel choice (level 'pixel'); another one for every iteration.

    Returns:
        ``Q`` queries (labels -1 where a slot is empty) and the student's logits ``(Q, C)``.
    """
    assert view.student_logits is not None
    if level == "region":
        samples, student = _region_means(view)
        return samples, student
    if level == "pixel":
        where = balanced_choice(view.labels, view.ids, view.num_classes, anchors, seed)
        view = _take(view, where)
    features, logits, labels, ids = _flatten(view)
    assert view.student_logits is not None
    return _samples(features, logits, labels, ids), view.student_logits.flatten(0, 1)


def rows(level: str, view: View, pixels_per_image: int, seed: int) -> tuple[Samples, Tensor]:
    """Rows that the images of ``view`` offer to the bank, and their sampling keys.

    Args:
        level: one of :data:`LEVELS`.
        view: images, without student logits.
        pixels_per_image: most pixels of one class that one image may give (level 'pixel').
        seed: of the sampling keys.

    Returns:
        ``R`` rows, all of them labelled, and ``(R,)`` int64 keys (the smaller, the sooner kept).
    """
    if level == "region":
        samples, _ = _region_means(view)
        positions = samples.labels
    else:
        features, logits, labels, ids = _flatten(view)
        positions = torch.arange(view.labels.shape[1], device=labels.device)
        positions = positions.repeat(view.labels.shape[0])
        keep = _pixels_to_keep(view, labels, ids, positions, pixels_per_image, seed, level)
        samples = _samples(features[keep], logits[keep], labels[keep], ids[keep])
        positions = positions[keep]
    labelled = samples.labels >= 0
    samples, positions = samples[labelled], positions[labelled]
    return samples, keyed_hash(seed, samples.ids, positions)


def balanced_choice(labels: Tensor, ids: Tensor, num_classes: int, count: int, seed: int) -> Tensor:
    """Choose locations at random, balanced over the classes present in each image.

    Classes take turns: first a random location of each class, then a second of each, and so on
    until ``count`` are chosen; a class that runs out leaves its turns to the others. Locations
    without a label come last, as padding.

    Chance is a hash of (seed, image, location), so that an image has the same locations on
    whatever rank and in whatever company it comes, and again when a run is resumed.

    Args:
        labels: ``(B, L)`` int64, -1 where void.
        ids: ``(B,)`` int64; an image that is not known (below 0) goes by its place in the batch.
        num_classes: ``C``.
        count: locations to choose per image.
        seed: of the choice.

    Returns:
        ``(B, min(count, L))`` int64 locations.
    """
    slots = torch.arange(labels.shape[1], device=labels.device)
    places = torch.arange(labels.shape[0], device=labels.device)
    images = torch.where(ids < 0, -1 - places, ids)[:, None]
    classes = torch.where(labels < 0, num_classes, labels)
    shuffled = keyed_hash(seed, images, slots).argsort(dim=1)
    order = shuffled.gather(1, classes.gather(1, shuffled).argsort(dim=1, stable=True))
    sorted_classes = classes.gather(1, order)
    sizes = torch.zeros_like(classes[:, :1]).repeat(1, num_classes + 1)
    sizes.scatter_add_(1, classes, torch.ones_like(classes))
    begin = (sizes.cumsum(dim=1) - sizes).gather(1, sorted_classes)
    # Inside one turn the classes come in random order, by noise of its own: that which shuffled
    # the locations is smallest in the largest class.
    noise = keyed_hash(seed + 1, images, slots).double() / 2**63
    turn = (slots - begin + noise).masked_fill(sorted_classes == num_classes, torch.inf)
    chosen = turn.argsort(dim=1)[:, :count]
    return order.gather(1, chosen)


def _pixels_to_keep(
    view: View,
    labels: Tensor,
    ids: Tensor,
    positions: Tensor,
    pixels_per_image: int,
    seed: int,
    level: str,
) -> Tensor:
    """Flat locations that an image may give: all at image level, a share per class for pixels."""
    if level == "image":
        return torch.arange(len(labels), device=labels.device)
    image = torch.arange(view.labels.shape[0], device=labels.device)
    image = image.repeat_interleave(view.labels.shape[1])
    candidates = (labels >= 0).nonzero()[:, 0]
    group = image[candidates] * view.num_classes + labels[candidates]
    keys = keyed_hash(seed, ids[candidates], positions[candidates])
    groups = view.labels.shape[0] * view.num_classes
    return candidates[smallest_per_class(group, keys, groups, pixels_per_image)]


def _region_means(view: View) -> tuple[Samples, Tensor]:
    """Mean feature and logits of each class in each image: ``B * C`` slots, empty ones -1."""
    batch, num_classes = view.labels.shape[0], view.num_classes
    member = F.one_hot(view.labels.clamp(min=0), num_classes)
    member = (member * (view.labels >= 0)[..., None]).transpose(1, 2).float()
    sizes = member.sum(dim=2, keepdim=True)
    weights = member / sizes.clamp(min=1)
    with torch.autocast(member.device.type, enabled=False):
        features, logits = (
            torch.bmm(weights, x.float()).flatten(0, 1) for x in (view.features, view.logits)
        )
        student = logits.new_empty(0)
        if view.student_logits is not None:
            student = torch.bmm(weights, view.student_logits.float()).flatten(0, 1)
    classes = torch.arange(num_classes, device=member.device).repeat(batch)
    labels = torch.where(sizes.flatten() > 0, classes, NO_LABEL)
    ids = view.ids.repeat_interleave(num_classes, output_size=batch * num_classes)
    return _samples(features, logits, labels, ids), student


def _take(view: View, where: Tensor) -> View:
    """The chosen ``(B, A)`` locations of ``view``."""

    def pick(x: Tensor) -> Tensor:
        return x.gather(1, where[..., None].expand(-1, -1, x.shape[2]))

    return View(
        features=pick(view.features),
        logits=pick(view.logits),
        labels=view.labels.gather(1, where),
        valid=view.valid.gather(1, where),
        ids=view.ids,
        student_logits=None if view.student_logits is None else pick(view.student_logits),
    )


def _flatten(view: View) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, logits, labels and ids of all ``B * L`` locations."""
    batch, locations = view.labels.shape
    ids = view.ids.repeat_interleave(locations, output_size=batch * locations)
    return view.features.flatten(0, 1), view.logits.flatten(0, 1), view.labels.flatten(), ids


def _samples(features: Tensor, logits: Tensor, labels: Tensor, ids: Tensor) -> Samples:
    """``Samples`` with the features on the unit sphere, in float32."""
    return Samples(F.normalize(features.float(), dim=1), logits.float(), labels, ids)
