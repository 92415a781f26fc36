"""Training images for the bank: each image once, in order, without augmentation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from mmickd.building.numbering import number_images, offsets_of
from mmickd.building.parts import leaf_datasets, with_pipeline
from mmickd.sampling import image_id, keyed_hash
from mmickd.utils.digest import Digest
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress


class BankImages(Dataset):
    """Images of a training set, read by deterministic pipelines.

    The annotations are shared with the training set, which is not changed. Every image occurs
    once, even if wrappers repeat it or several parts of the data set contain its file.

    Args:
        dataset: Training set with its wrappers.
        pipelines: Lists of transforms, or Composes: one for all parts of the data set, or one for
            each of :func:`~mmickd.building.parts.leaf_datasets`.

    Raises:
        ICKDError: If the data set has no images, or its pipeline cannot be replaced.
    """

    def __init__(self, dataset: Any, *pipelines: Any) -> None:
        parts = leaf_datasets(dataset)
        self.pipelines = [p if callable(p) else Compose(p) for p in pipelines]
        by_part = self.pipelines * len(parts) if len(pipelines) == 1 else self.pipelines
        self._parts = [with_pipeline(*pair) for pair in zip(parts, by_part, strict=True)]
        self._offsets = offsets_of(parts)
        number_images(self._parts, self._offsets)
        self._places = [
            (part, index) for part, data in enumerate(self._parts) for index in range(len(data))
        ]
        if len(self._parts) > 1:
            self._places = self._distinct()
        self._all_places = self._places
        if not self._places:
            raise ICKDError(
                "the training data set is empty, so no memory bank can be built: check "
                "data_root, data_prefix and ann_file of train_dataloader.dataset."
            )

    def _distinct(self) -> list[tuple[int, int]]:
        """Return the first place of each image."""
        first: dict[str, tuple[int, int]] = {}
        for name, place in zip(self.names(), self._places, strict=True):
            first.setdefault(name, place)
        return list(first.values())

    def first_of_parts(self) -> list[int]:
        """Return the index of the first image of each part that has images."""
        first: dict[int, int] = {}
        for index, (part, _) in enumerate(self._places):
            first.setdefault(part, index)
        return list(first.values())

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the packed sample: ``inputs`` (3, h, w) uint8 and ``data_samples``."""
        part, place = self._places[index]
        sample = self._parts[part][place]
        if sample is None:
            raise ICKDError(f"the pipeline gives no sample for {self.name(index)}.")
        return sample

    def info(self, index: int) -> dict[str, Any]:
        """Return the annotation of an image; empty if its data set has none."""
        part, place = self._places[index]
        get = getattr(self._parts[part], "get_data_info", None)
        return {} if get is None else get(place)

    def name(self, index: int) -> str:
        """Return the name of an image for messages."""
        return str(self.info(index).get("img_path") or f"sample {self._number(index)}")

    def names(self) -> Iterator[str]:
        """Yield the :meth:`key` of each image, in order."""
        return map(self.key, range(len(self)))

    def key(self, index: int) -> str:
        """Return the string whose hash is an image's id: path, else number over all parts."""
        return str(self.info(index).get("img_path") or f"#{self._number(index)}")

    def _number(self, index: int) -> int:
        part, place = self._places[index]
        return self._offsets[part] + place

    def digest(self) -> str:
        """Return a SHA-256 of the annotations, and of size and modification time of their files."""
        state = Digest()
        progress = Progress(len(self), "images", "checking the training images' files", quiet=True)
        for index in range(len(self)):
            info = self.info(index)
            state.add(info)
            for key in ("img_path", "seg_map_path"):
                path = info.get(key)
                if isinstance(path, str) and os.path.exists(path):
                    stat = os.stat(path)
                    state.add((stat.st_size, stat.st_mtime_ns))
            progress.step()
        return state.hexdigest()

    def limit(self, count: int | None, seed: int) -> None:
        """Choose ``count`` images by a hash of (seed, image); None chooses all."""
        self._places = self._all_places
        if count is None or count >= len(self):
            return
        ids = [image_id(name) for name in self.names()]
        keys = keyed_hash(seed, torch.tensor(ids), torch.zeros(len(ids), dtype=torch.long))
        keep = sorted(torch.argsort(keys, stable=True)[:count].tolist())
        self._places = [self._places[i] for i in keep]
