"""Small pictures, decoded once and augmented by the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mmickd.datasets.augmentation import Chance, crop_and_flip
from mmickd.registry import DATASETS
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress

PLAN = (
    "It takes LoadImageFromFile, Resize, ResizeEdge and CenterCrop, then at most one RandomCrop, "
    "then at most one RandomFlip, then PackInputs of mmpretrain, in this order."
)


class Stages(NamedTuple):
    """The transforms of a pipeline, by what becomes of them.

    Args:
        once: without chance, run once for each picture.
        crop: mmpretrain's RandomCrop, or None.
        flip: mmcv's RandomFlip, or None.
        pack: mmpretrain's PackInputs.
    """

    once: list[Any]
    crop: Any
    flip: Any
    pack: Any


@DATASETS.register_module()
class InMemoryDataset(Dataset):
    """A data set whose pictures are decoded once, and cropped and flipped by the batch.

    Put it around the data set that a config has, and let the loader stack what it gives::

        train_dataloader = dict(
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='mmickd.InMemoryDataset', dataset=dict(type='CustomDataset', ...)))

    Labels, meta information and pixels are those of the data set itself, and the same random
    numbers are drawn in the same order: with as many workers, a run is the same with it and
    without, bit for bit, only faster. All pictures have to be of one size when the transforms
    without chance are done. The wrapped data set keeps its pipeline; memory banks are built
    through it.

    Args:
        dataset (dict | Dataset): What it wraps: a data set with a pipeline, of mmpretrain's kind.
            Wrappers such as ``RepeatDataset`` and ``ConcatDataset`` go around this one; they ask
            for one picture at a time, which is slower.
        device (str | None): Where the pictures lie and are augmented. ``'cuda'`` needs
            ``num_workers=0`` in the loader. None: the CPU. Defaults to None.

    Raises:
        ICKDError: If the pipeline has other transforms, a picture cannot be read or is of another
            size than the first one, or the device is not there.

    Example:
        >>> from mmpretrain.datasets import BaseDataset, PackInputs
        >>> class Grey(BaseDataset):
        ...     def load_data_list(self):
        ...         return [dict(img=torch.full((2, 2, 3), i).numpy(), gt_label=i) for i in (0, 1)]
        >>> data = InMemoryDataset(Grey(ann_file="", pipeline=[PackInputs()]))
        >>> data[1]["inputs"].shape, data[1]["data_samples"].gt_label
        (torch.Size([3, 2, 2]), tensor([1]))
    """

    def __init__(self, dataset: Any, device: str | None = None) -> None:
        self.dataset = MMENGINE_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.device = _device(device)
        self._stages = split_pipeline(self.dataset)
        self._pictures: Tensor | None = None
        self._infos: list[dict[str, Any]] = []

    @property
    def metainfo(self) -> dict[str, Any]:
        """Of the wrapped data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Decode the pictures, if that is not done."""
        if self._pictures is not None:
            return
        self.dataset.full_init()
        pictures, self._infos = read_pictures(self.dataset, self._stages)
        height, width = pictures.shape[2:]
        self._size = (height, width)
        if self._stages.crop is not None:
            wanted = self._stages.crop.crop_size
            self._size = (min(height, wanted[0]), min(width, wanted[1]))
            for info in self._infos:
                info["img_shape"] = (*self._size, *info["img_shape"][2:])
        room = (height - self._size[0], width - self._size[1])
        self._chance = Chance(room, flip_probabilities(self._stages.flip))
        self._pictures = pictures.to(self.device)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Annotation of a picture, as the wrapped data set has it."""
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes of a picture, as ``ClassBalancedDataset`` asks for them."""
        return self.dataset.get_cat_ids(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """One sample, as the pipeline packs it."""
        return self.__getitems__([idx])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The samples of a batch, as the pipeline packs them; their pictures are one tensor's.

        Args:
            indices (Sequence[int]): ``B`` numbers of pictures.

        Returns:
            list[dict]: Of ``inputs``, ``(C, h, w)`` uint8, and ``data_samples``.

        Raises:
            ICKDError: In a worker process of a loader, if the pictures lie on a GPU.
        """
        if self.device.type != "cpu" and get_worker_info() is not None:
            raise ICKDError(
                f"InMemoryDataset(device='{self.device}') makes its batches on that device, where "
                "worker processes cannot reach: set num_workers=0 and persistent_workers=False in "
                "the data loader."
            )
        self.full_init()
        assert self._pictures is not None
        draws = [self._chance.draw() for _ in indices]
        batch = crop_and_flip(self._pictures, indices, draws, self._size)
        # Parts of joined data sets may be numbered anew after their pictures were read.
        offset = getattr(vars(self.dataset).get("get_data_info"), "offset", 0)
        samples = []
        for index, draw, picture in zip(indices, draws, batch, strict=True):
            info = dict(self._infos[index])
            if offset:
                info["sample_idx"] = index + offset
            if self._stages.flip is not None:
                info.update(flip=draw.direction is not None, flip_direction=draw.direction)
            samples.append(dict(inputs=picture, **self._stages.pack(info)))
        return samples


def split_pipeline(dataset: Any) -> Stages:
    """The transforms of a data set, by what becomes of them.

    Raises:
        ICKDError: if it has no pipeline of its own, or another one than can be taken.
    """
    from mmpretrain.datasets import transforms as known

    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", None)
    if transforms is None:
        raise ICKDError(
            f"InMemoryDataset wraps a data set with a pipeline, and {type(dataset).__name__} has "
            "none: put it around the data set inside, and the other wrapper around it."
        )
    first = {known.LoadImageFromFile, known.Resize, known.ResizeEdge, known.CenterCrop}
    rest = list(transforms)
    once = []
    while rest and type(rest[0]) in first:
        once.append(rest.pop(0))
    crop = rest.pop(0) if rest and type(rest[0]) is known.RandomCrop else None
    flip = rest.pop(0) if rest and type(rest[0]) is known.RandomFlip else None
    if len(rest) != 1 or type(rest[0]) is not known.PackInputs or rest[0].input_key != "img":
        names = ", ".join(type(transform).__name__ for transform in transforms)
        left = ", ".join(type(t).__name__ for t in rest) or "an end without PackInputs"
        raise ICKDError(
            f"InMemoryDataset cannot take the pipeline {names} (from {left} on). {PLAN} Change the "
            "pipeline, or leave the wrapper out."
        )
    return Stages(once, crop, flip, rest[0])


def read_pictures(dataset: Any, stages: Stages) -> tuple[Tensor, list[dict[str, Any]]]:
    """All pictures through the transforms without chance, padded for the crop.

    Args:
        dataset: ready to be read.
        stages: of its pipeline.

    Returns:
        The pictures, ``(N, C, H, W)`` of the dtype of the first one; and of each what else the
        transforms leave, with ``img_shape`` after padding.

    Raises:
        ICKDError: if there is none, one cannot be read, or they are of several sizes.
    """
    if len(dataset) == 0:
        raise ICKDError(
            "the data set inside of InMemoryDataset is empty: check its data_root, data_prefix and "
            "ann_file."
        )
    clock = Progress(len(dataset), "pictures", "reading into memory", quiet=True)
    infos = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        name = info.get("img_path", f"sample {index}")
        try:
            for transform in (*stages.once, *_padding(stages.crop)):
                info = transform(info)
            picture = stages.pack.format_input(info.pop("img"))
        except Exception as error:  # whatever a transform raises, the user needs the picture
            raise ICKDError(
                f"{name} cannot be read into memory ({type(error).__name__}: {str(error)[:200]}). "
                "Mend it, or the pipeline."
            ) from error
        if index == 0:
            pictures = picture.new_empty(len(dataset), *picture.shape)
        if picture.shape != pictures.shape[1:]:
            raise ICKDError(
                f"{name} is {tuple(picture.shape)} after the transforms without chance, the first "
                f"picture {tuple(pictures.shape[1:])}: InMemoryDataset needs them of one size. "
                "Begin the pipeline with LoadImageFromFile and Resize."
            )
        pictures[index] = picture
        infos.append(info)
        clock.step()
    return pictures, infos


def _padding(crop: Any) -> list[Any]:
    """A crop without its chance: it pads as it does, and keeps all of the picture."""
    if crop is None:
        return []
    whole = copy.copy(crop)
    whole.rand_crop_params = lambda image: (0, 0, *image.shape[:2])
    return [whole]


def flip_probabilities(flip: Any) -> dict[str, float]:
    """The probability of each direction of mmcv's RandomFlip; none of no flip.

    Example:
        >>> from mmcv.transforms import RandomFlip
        >>> flip_probabilities(RandomFlip(prob=0.5, direction=["horizontal", "vertical"]))
        {'horizontal': 0.25, 'vertical': 0.25}
    """
    if flip is None:
        return {}
    directions = [flip.direction] if isinstance(flip.direction, str) else flip.direction
    if isinstance(flip.prob, list):
        return dict(zip(directions, flip.prob, strict=True))
    return dict.fromkeys(directions, flip.prob / len(directions))


def _device(name: str | None) -> torch.device:
    """A device that is there.

    Raises:
        ICKDError: if it is none, or cannot be used.
    """
    try:
        device = torch.device(name or "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ICKDError(
            f"InMemoryDataset(device={name!r}) cannot be used here ({str(error)[:200]}). Set "
            "device=None to keep the pictures in the host's memory."
        ) from error
    return device
