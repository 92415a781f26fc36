"""Selection of the images, classes and locations that a gallery shows."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from mmickd.building.images import BankImages
from mmickd.building.parts import leaf_datasets
from mmickd.sampling import image_id, keyed_hash
from mmickd.utils.errors import ICKDError


def class_names(dataset: Any, count: int) -> list[str]:
    """Return the class names of a data set, or the class numbers if it has no names.

    Args:
        dataset: Built data set, with its wrappers.
        count: Number of classes.
    """
    names = getattr(leaf_datasets(dataset)[0], "metainfo", {}).get("classes") or ()
    return [str(name) for name in names] if len(names) == count else [str(n) for n in range(count)]


def select_classes(requested: Sequence[str] | None, names: Sequence[str]) -> set[int]:
    """Return the classes that are requested by name or number; None requests all classes.

    Raises:
        ICKDError: If a class does not exist; with the closest name.

    Example:
        >>> select_classes(["dog", "0"], ["cat", "dog"])
        {0, 1}
    """
    if requested is None:
        return set(range(len(names)))
    labels = {str(number): number for number in range(len(names))}
    labels |= {name: number for number, name in enumerate(names)}
    for name in requested:
        if name not in labels:
            close = difflib.get_close_matches(name, names, n=1) or list(names[:3])
            raise ICKDError(f"--classes: there is no class '{name}' (try {', '.join(close)}).")
    return {labels[name] for name in requested}


def images_by_path(images: BankImages, paths: Sequence[str], split: str) -> list[int]:
    """Return the index of each image, given its path or a unique end of its path.

    Args:
        images: Images to search.
        paths: Paths, or their unique ends.
        split: Name of the images, for messages.

    Raises:
        ICKDError: If a path fits no image or several images.
    """
    names = [images.name(index) for index in range(len(images))]
    return [_index_of(names, path, split) for path in paths]


def _index_of(names: Sequence[str], path: str, split: str) -> int:
    full = os.path.abspath(path)
    matches = [i for i, name in enumerate(names) if name == path or os.path.abspath(name) == full]
    if not matches:
        end = "/" + path.replace(os.sep, "/").lstrip("./")
        matches = [i for i, name in enumerate(names) if name.replace(os.sep, "/").endswith(end)]
    if len(matches) != 1:
        examples = ", ".join(names[index] for index in (matches or range(len(names)))[:3])
        problem = f"fits {len(matches)} images" if matches else "is no image"
        raise ICKDError(
            f"--images: {path} {problem} of the {split} split (it has {examples}, ...). Give the "
            "path of an image as the data set has it, or a unique end of this path."
        )
    return matches[0]


def shuffle_images(images: BankImages, classes: Collection[int], seed: int) -> list[int]:
    """Return the indices of the images in random order, with the classes taking turns.

    Args:
        images: Images to order.
        classes: Classes to keep. Images whose class is unknown before they are read are all kept.
        seed: Seed of the order; the order of the data set does not matter.
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


def rarest_class(
    labels: Sequence[int], classes: Collection[int], counts: Counter[int]
) -> list[int]:
    """Return the first slot of the rarest selected class so far; empty if there is none.

    Args:
        labels: Class of each slot; negative for a slot without a class.
        classes: Selected classes.
        counts: Number of queries of each class so far.

    Example:
        >>> rarest_class([-1, 4, 2, 2], {2, 4}, Counter({4: 1})), rarest_class([4], {2}, Counter())
        ([2], [])
    """
    return sorted(one_per_class(labels, classes), key=lambda slot: counts[labels[slot]])[:1]


def one_per_class(labels: Sequence[int], classes: Collection[int]) -> list[int]:
    """Return the first slot of each selected class.

    Example:
        >>> one_per_class([-1, 4, 2, 2], {2, 3, 4})
        [1, 2]
    """
    first: dict[int, int] = {}
    for slot, label in enumerate(labels):
        if label in classes:
            first.setdefault(label, slot)
    return list(first.values())
