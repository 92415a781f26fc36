"""Levels, which choose the queries among the locations of a view, and the rows of the bank.

In a training step, the outputs of a level have a fixed shape and need no host synchronisation.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.sampling import keyed_hash, smallest_per_class
from mmickd.structures import NO_LABEL, Samples, View


class Level(metaclass=ABCMeta):
    """Unit of a query: an image, a pixel or a region.

    Attributes:
        capacity: Default number of rows per class in a bank; None: all.
        has_own_rows: True if a bank has one row for each query, as ``query='bank'`` requires.

    Example:
        >>> class FirstLocation(Level):
        ...     def queries(self, view, anchors, seed):
        ...         return take(view, torch.zeros_like(view.labels[:, :1]))
        >>> labels = torch.tensor([[2, 0, 1]])
        >>> view = View(torch.ones(1, 3, 4), torch.ones(1, 3, 3), labels, labels >= 0, labels[:, 0])
        >>> FirstLocation().queries(view, 9, 0).labels.tolist()
        [[2]]
    """

    capacity: int | None = None
    has_own_rows: bool = True

    @abstractmethod
    def queries(self, view: View, anchors: int, seed: int) -> View:
        """Return the queries of a batch.

        Args:
            view: The batch at all its locations.
            anchors: Maximum number of queries per image, where the level samples.
            seed: Seed of the choice, different in every iteration.

        Returns:
            View of ``A`` queries per image, with :data:`NO_LABEL` where a slot is empty.
        """

    def bank_rows(self, view: View, pixels_per_image: int, seed: int) -> tuple[Samples, Tensor]:
        """Return the rows of images for the bank.

        Args:
            view: The images at all their locations, without student.
            pixels_per_image: Maximum number of rows of one class from one image, where the level
                samples.
            seed: Seed of the sampling keys.

        Returns:
            ``R`` labelled rows, and ``(R,)`` int64 keys; a bank keeps the smallest keys.
        """
        samples = view.samples()
        rows, positions = samples.labels >= 0, locations_of(view)
        return samples[rows], keyed_hash(seed, samples.ids[rows], positions[rows])


class ImageLevel(Level):
    """Level of images: every location of the view is a query.

    Example:
        >>> labels = torch.tensor([[1], [-1]])
        >>> view = View(torch.ones(2, 1, 4), torch.zeros(2, 1, 3), labels, labels < 9, labels[:, 0])
        >>> rows, keys = ImageLevel().bank_rows(view, pixels_per_image=1, seed=0)
        >>> rows.labels.tolist()
        [1]
    """

    def queries(self, view: View, anchors: int, seed: int) -> View:
        """See :meth:`Level.queries`."""
        return view


class PixelLevel(Level):
    """Level of pixels: locations chosen at random, balanced over the classes of each image.

    The default capacity is our choice: 19 classes of 512-wide fp16 rows are 76 MiB.
    """

    capacity = 4096
    has_own_rows = False

    def queries(self, view: View, anchors: int, seed: int) -> View:
        """See :meth:`Level.queries`."""
        return take(view, balanced_choice(view.labels, view.ids, view.num_classes, anchors, seed))

    def bank_rows(self, view: View, pixels_per_image: int, seed: int) -> tuple[Samples, Tensor]:
        """See :meth:`Level.bank_rows`."""
        labels, ids, positions = view.labels.flatten(), view.location_ids, locations_of(view)
        images = torch.arange(len(view.ids), device=labels.device)
        images = images.repeat_interleave(view.labels.shape[1])
        candidates = (labels >= 0).nonzero()[:, 0]
        group = images[candidates] * view.num_classes + labels[candidates]
        keys = keyed_hash(seed, ids[candidates], positions[candidates])
        groups = len(view.ids) * view.num_classes
        chosen = smallest_per_class(group, keys, groups, pixels_per_image)
        rows = candidates[chosen]
        features = F.normalize(view.features.flatten(0, 1)[rows].float(), dim=1)
        logits = view.logits.flatten(0, 1)[rows].float()
        return Samples(features, logits, labels[rows], ids[rows]), keys[chosen]


class RegionLevel(Level):
    """Level of regions: mean features and logits of each class in each image, ``C`` per image."""

    def queries(self, view: View, anchors: int, seed: int) -> View:
        """See :meth:`Level.queries`."""
        member = F.one_hot(view.labels.clamp(min=0), view.num_classes)
        member = (member * (view.labels >= 0)[..., None]).transpose(1, 2).float()
        sizes = member.sum(dim=2, keepdim=True)
        weights = member / sizes.clamp(min=1)

        def mean(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                return torch.bmm(weights, x.float())

        present = sizes[..., 0] > 0
        classes = torch.arange(view.num_classes, device=member.device).expand_as(present)
        features = view.student_features
        return View(
            features=mean(view.features),
            logits=mean(view.logits),
            labels=torch.where(present, classes, NO_LABEL),
            valid=present,
            ids=view.ids,
            student_logits=None if view.student_logits is None else mean(view.student_logits),
            student_features=None if features is None else lambda: mean(features()),
        )

    def bank_rows(self, view: View, pixels_per_image: int, seed: int) -> tuple[Samples, Tensor]:
        """See :meth:`Level.bank_rows`."""
        return super().bank_rows(self.queries(view, 0, seed), pixels_per_image, seed)


def locations_of(view: View) -> Tensor:
    """Return ``(B * L,)`` int64: the index of each location in its image."""
    positions = torch.arange(view.labels.shape[1], device=view.labels.device)
    return positions.repeat(view.labels.shape[0])


def take(view: View, locations: Tensor) -> View:
    """Return the view at the ``(B, A)`` chosen locations."""

    def pick(x: Tensor) -> Tensor:
        return x.gather(1, locations[..., None].expand(-1, -1, x.shape[2]))

    features, places = view.student_features, view.places
    return replace(
        view,
        features=pick(view.features),
        logits=pick(view.logits),
        labels=view.labels.gather(1, locations),
        valid=view.valid.gather(1, locations),
        student_logits=None if view.student_logits is None else pick(view.student_logits),
        student_features=None if features is None else lambda: pick(features()),
        places=None if places is None else lambda: pick(places()),
    )


def balanced_choice(labels: Tensor, ids: Tensor, num_classes: int, count: int, seed: int) -> Tensor:
    """Choose locations at random, balanced over the classes present in each image.

    Classes take turns: first a random location of each class, then a second location of each class,
    and so on until ``count`` are chosen. A class without further locations is skipped. Locations
    without a label come last, as padding.

    The random order is a hash of (seed, image, location), so that an image has the same locations
    on any rank, in any batch and in a resumed run.

    Args:
        labels: ``(B, L)`` int64, -1 where void.
        ids: ``(B,)`` int64; for an unknown image (below 0) its index in the batch is hashed.
        num_classes: ``C``.
        count: Locations to choose per image.
        seed: Seed of the choice.

    Returns:
        ``(B, min(count, L))`` int64 locations.

    Example:
        >>> labels = torch.tensor([[0, 0, 0, 0, 2, -1]])
        >>> chosen = balanced_choice(labels, torch.tensor([5]), num_classes=3, count=2, seed=0)
        >>> labels[0, chosen[0]].sort().values.tolist()
        [0, 2]
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
    # Within a turn the classes are in random order, by a second hash: the hash that shuffles the
    # locations has its smallest values in the largest class. The sum is an integer, as some devices
    # lack float64.
    bits = 63 - labels.shape[1].bit_length()
    noise = keyed_hash(seed + 1, images, slots) >> (63 - bits)
    turn = ((slots - begin) << bits) + noise
    turn = turn.masked_fill(sorted_classes == num_classes, torch.iinfo(torch.long).max)
    chosen = turn.argsort(dim=1, stable=True)[:, :count]
    return order.gather(1, chosen)
