"""The training images as the bank sees them: each once, in order, without augmentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from mmickd.building.large_images import explain_large_image
from mmickd.building.numbering import number_images, offsets_of
from mmickd.building.parts import leaf_datasets, with_pipeline
from mmickd.sampling import image_id, keyed_hash
from mmickd.utils.digest import Digest
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress

REREADS = 7
"""Further reads of the first image that must agree: a coin flip passes once in 128 times."""


class BankImages(Dataset):
    """The images of a training set, under deterministic pipelines.

    Shares the annotations of the live data set (nothing is scanned again) and leaves it as it is.
    Wrappers that repeat images are seen through, and parts of a data set that share an image file
    give it once: every image comes once.

    Args:
        dataset: the live training set, wrappers included.
        pipelines: transform lists, or Composes; one for all parts of the data set, or one for
            each of :func:`~mmickd.building.parts.leaf_datasets`.

    Raises:
        ICKDError: if the data set has no images, or cannot be re-piped.
    """

    def __init__(self, dataset: Any, *pipelines: Any) -> None:
        parts = leaf_datasets(dataset)
        self.pipelines = [p if callable(p) else Compose(p) for p in pipelines]
        of_parts = self.pipelines * len(parts) if len(pipelines) == 1 else self.pipelines
        self._parts = [with_pipeline(*pair) for pair in zip(parts, of_parts, strict=True)]
        self._offsets = offsets_of(parts)
        number_images(self._parts, self._offsets)
        self._places = [
            (part, index) for part, data in enumerate(self._parts) for index in range(len(data))
        ]
        if len(self._parts) > 1:
            self._places = self._distinct()
        if not self._places:
            raise ICKDError(
                "the training data set is empty, no memory bank can be built from it: check "
                "data_root, data_prefix and ann_file of train_dataloader.dataset."
            )

    def _distinct(self) -> list[tuple[int, int]]:
        """The first place of each image."""
        first: dict[str, tuple[int, int]] = {}
        for name, place in zip(self.names(), self._places, strict=True):
            first.setdefault(name, place)
        return list(first.values())

    def first_of_parts(self) -> list[int]:
        """Index of the first image of each part that has one."""
        first: dict[int, int] = {}
        for index, (part, _) in enumerate(self._places):
            first.setdefault(part, index)
        return list(first.values())

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The packed sample: ``inputs`` (3, h, w) uint8 and ``data_samples``."""
        part, place = self._places[index]
        sample = self._parts[part][place]
        if sample is None:
            raise ICKDError(f"the pipeline gives no sample for {self.name(index)}.")
        return sample

    def info(self, index: int) -> dict[str, Any]:
        """Annotation of an image, as its data set has it; empty where it keeps none."""
        part, place = self._places[index]
        get = getattr(self._parts[part], "get_data_info", None)
        return {} if get is None else get(place)

    def name(self, index: int) -> str:
        """Name of an image for messages."""
        return str(self.info(index).get("img_path") or f"sample {self._number(index)}")

    def names(self) -> Iterator[str]:
        """Return the :meth:`key` of each image, in order."""
        return map(self.key, range(len(self)))

    def key(self, index: int) -> str:
        """Return what the id of an image is a hash of: its path, else its number over all parts."""
        return str(self.info(index).get("img_path") or f"#{self._number(index)}")

    def _number(self, index: int) -> int:
        part, place = self._places[index]
        return self._offsets[part] + place

    def digest(self) -> str:
        """SHA-256 of annotations, and of size and time of change of the files they name."""
        state = Digest()
        clock = Progress(len(self), "images", "looking at the training images' files", quiet=True)
        for index in range(len(self)):
            info = self.info(index)
            state.add(info)
            for key in ("img_path", "seg_map_path"):
                path = info.get(key)
                if isinstance(path, str) and os.path.exists(path):
                    stat = os.stat(path)
                    state.add((stat.st_size, stat.st_mtime_ns))
            clock.step()
        return state.hexdigest()

    def limit(self, count: int | None, seed: int) -> None:
        """Keep ``count`` images, chosen by a hash of (seed, image)."""
        if count is None or count >= len(self):
            return
        ids = [image_id(name) for name in self.names()]
        keys = keyed_hash(seed, torch.tensor(ids), torch.zeros(len(ids), dtype=torch.long))
        keep = sorted(torch.argsort(keys, stable=True)[:count].tolist())
        self._places = [self._places[i] for i in keep]


def check_first_sample(images: BankImages, has_label: Callable[[Any], bool]) -> dict[str, Any]:
    """The first sample, after a look at what the pipeline makes of it.

    Raises:
        ICKDError: if it carries no label, or comes out differently the second time.
    """
    try:
        with explain_large_image(images.name(0)):
            first = images[0]
    except ICKDError:
        raise
    except Exception as error:  # whatever a pipeline raises, the user needs the image
        raise ICKDError(
            "the pipeline that reads the training images for the memory bank fails on "
            f"{images.name(0)} ({type(error).__name__}: {error}). Mend the image, or set "
            "bank.pipeline to transforms that load it, load its label, and pack them."
        ) from error
    if not isinstance(first, dict) or not {"inputs", "data_samples"} <= first.keys():
        raise ICKDError(
            "the pipeline that reads the training images for the memory bank does not pack them: "
            "end bank.pipeline with PackInputs (mmpretrain) or PackSegInputs (mmseg)."
        )
    if not has_label(first["data_samples"]):
        raise ICKDError(
            "the pipeline that reads the training images for the memory bank gives no label "
            f"({images.name(0)}). Set bank.pipeline to one that does (for mmseg: with "
            "LoadAnnotations), for example train_pipeline without its random transforms."
        )
    again = [images[0]["inputs"] for _ in range(REREADS)]
    if not all(torch.equal(first["inputs"], other) for other in again):
        raise ICKDError(
            "the pipeline that reads the training images for the memory bank is random "
            f"({images.name(0)} came out in two ways). Set bank.pipeline to one without chance."
        )
    return first
