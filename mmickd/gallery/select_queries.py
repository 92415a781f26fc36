"""Which images, and which of their locations, a gallery shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import torch

from mmickd.building.images import BankImages
from mmickd.sampling import image_id, keyed_hash
from mmickd.utils.errors import ICKDError


def images_named(images: BankImages, wanted: Sequence[str], split: str) -> list[int]:
    """Places of images by their paths, or by the ends of these.

    Args:
        images: to look among.
        wanted: paths, or as much of their ends as tells them from others.
        split: what the images are called, for messages.

    Raises:
        ICKDError: if one is not among the images, or is several of them.
    """
    names = [images.name(index) for index in range(len(images))]
    return [_named(names, one, split) for one in wanted]


def _named(names: Sequence[str], wanted: str, split: str) -> int:
    path = os.path.abspath(wanted)
    found = [at for at, name in enumerate(names) if name == wanted or os.path.abspath(name) == path]
    if not found:
        end = "/" + wanted.replace(os.sep, "/").lstrip("./")
        found = [at for at, name in enumerate(names) if name.replace(os.sep, "/").endswith(end)]
    if len(found) != 1:
        some = ", ".join(names[at] for at in (found or range(len(names)))[:3])
        what = f"are {len(found)} images" if found else "is no image"
        raise ICKDError(
            f"--images: {wanted} {what} of the {split} split, which has {some}, ... Give the path "
            "of an image as the data set has it, or enough of its end."
        )
    return found[0]


def images_by_chance(images: BankImages, classes: Collection[int], seed: int) -> list[int]:
    """All images in a random order in which classes take turns, where labels are known unread.

    Args:
        images: to choose among.
        classes: to keep to; of images whose class is not known before they are read, all stay.
        seed: of the order; it is the same whatever the order of the data set.
    """
    ids = torch.tensor([image_id(name) for name in images.names()])
    shuffled = keyed_hash(seed, ids, torch.zeros_like(ids)).argsort(stable=True).tolist()
    turns: Counter[int] = Counter()
    turn: dict[int, int] = {}
    for index in shuffled:
        label = images.info(index).get("gt_label")
        if label is None or np.ndim(label):
            turn[index] = 0
        elif int(label) in classes:
            turn[index] = turns[int(label)]
            turns[int(label)] += 1
    return sorted(turn, key=lambda index: turn[index])


def rarest(labels: Sequence[int], classes: Collection[int], shown: Counter[int]) -> list[int]:
    """The slot of the wanted class that was shown least, of equals the first.

    Args:
        labels: class of each slot; below 0 where it has none.
        classes: that are wanted.
        shown: how often each class was.

    Example:
        >>> rarest([-1, 4, 2, 2], {2, 4}, Counter({4: 1})), rarest([4], {2}, Counter())
        ([2], [])
    """
    slots = one_of_each(labels, classes)
    return sorted(slots, key=lambda slot: shown[labels[slot]])[:1]


def one_of_each(labels: Sequence[int], classes: Collection[int]) -> list[int]:
    """The first slot of each wanted class.

    Example:
        >>> one_of_each([-1, 4, 2, 2], {2, 3, 4})
        [1, 2]
    """
    first: dict[int, int] = {}
    for slot, label in enumerate(labels):
        if label in classes:
            first.setdefault(label, slot)
    return list(first.values())
