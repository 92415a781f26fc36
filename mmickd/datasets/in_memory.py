"""Data set of small images that are decoded once and augmented by the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from mmickd.datasets.augmentation import CropAndFlipSampler, crop_and_flip
from mmickd.registry import DATASETS
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress

SUPPORTED = (
    "Supported are, in this order: LoadImageFromFile, Resize, ResizeEdge and CenterCrop, then at "
    "most one RandomCrop, then at most one RandomFlip, then PackInputs, all of mmpretrain."
)


class Stages(NamedTuple):
    """Stages of a pipeline, with their transforms.

    Args:
        deterministic: Transforms without randomness, which are run once for each image.
        crop: mmpretrain's RandomCrop, or None.
        flip: mmcv's RandomFlip, or None.
        pack: mmpretrain's PackInputs.
    """

    deterministic: list[Any]
    crop: Any
    flip: Any
    pack: Any


@DATASETS.register_module()
class InMemoryDataset(Dataset):
    """Wrapper of a data set that decodes images once, and crops and flips whole batches.

    Wrap the data set of a config, and let the loader stack the samples::

        train_dataloader = dict(
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='mmickd.InMemoryDataset', dataset=dict(type='CustomDataset', ...)))

    Labels, meta information and pixels stay the same, and the same random numbers are drawn in the
    same order. So with the same number of workers a run is bit for bit the same, but faster. All
    images must have the same size after the deterministic transforms. The wrapped data set keeps
    its pipeline; memory banks are built through it.

    Args:
        dataset (dict | Dataset): The wrapped data set, with a pipeline of mmpretrain. Wrappers such
            as ``RepeatDataset`` and ``ConcatDataset`` go around this one; they request one image
            at a time, which is slower.
        device (str | None): Device that stores and augments the images. ``'cuda'`` needs
            ``num_workers=0`` in the loader. None: the CPU. Defaults to None.

    Raises:
        ICKDError: If the pipeline has other transforms, an image cannot be read or has another size
            than the first one, or the device does not exist.

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
        self._images: Tensor | None = None
        self._infos: list[dict[str, Any]] = []

    @property
    def metainfo(self) -> dict[str, Any]:
        """Meta information of the wrapped data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Decode the images, unless they are decoded already."""
        if self._images is not None:
            return
        self.dataset.full_init()
        images, self._infos = read_images(self.dataset, self._stages)
        height, width = images.shape[2:]
        self._size = (height, width)
        if self._stages.crop is not None:
            crop_height, crop_width = self._stages.crop.crop_size
            self._size = (min(height, crop_height), min(width, crop_width))
            for info in self._infos:
                info["img_shape"] = (*self._size, *info["img_shape"][2:])
        margin = (height - self._size[0], width - self._size[1])
        self._sampler = CropAndFlipSampler(margin, flip_probabilities(self._stages.flip))
        self._images = images.to(self.device)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return the annotation of an image from the wrapped data set."""
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes of an image, for ``ClassBalancedDataset``."""
        return self.dataset.get_cat_ids(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """Return one sample, packed by the pipeline."""
        return self.__getitems__([idx])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the samples of a batch, packed by the pipeline; their images share one tensor.

        Args:
            indices (Sequence[int]): Indices of ``B`` images.

        Returns:
            list[dict]: ``inputs``, ``(C, h, w)`` uint8, and ``data_samples`` of each image.

        Raises:
            ICKDError: In a worker process of a loader, if the images are on a GPU.
        """
        if self.device.type != "cpu" and get_worker_info() is not None:
            raise ICKDError(
                f"InMemoryDataset(device='{self.device}') makes its batches on that device, which "
                "worker processes cannot use: set num_workers=0 and persistent_workers=False in "
                "the data loader."
            )
        self.full_init()
        assert self._images is not None
        draws = [self._sampler.draw() for _ in indices]
        batch = crop_and_flip(self._images, indices, draws, self._size)
        # parts of a ConcatDataset may be renumbered after their images were read
        offset = getattr(vars(self.dataset).get("get_data_info"), "offset", 0)
        samples = []
        for index, draw, image in zip(indices, draws, batch, strict=True):
            info = dict(self._infos[index])
            if offset:
                info["sample_idx"] = index + offset
            if self._stages.flip is not None:
                info.update(flip=draw.direction is not None, flip_direction=draw.direction)
            samples.append(dict(inputs=image, **self._stages.pack(info)))
        return samples


def split_pipeline(dataset: Any) -> Stages:
    """Return the stages of a data set's pipeline.

    Raises:
        ICKDError: If the data set has no pipeline, or its pipeline has unsupported transforms.
    """
    from mmpretrain.datasets import transforms as stock

    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", None)
    if transforms is None:
        raise ICKDError(
            f"InMemoryDataset wraps a data set with a pipeline, and {type(dataset).__name__} has "
            "none. Put InMemoryDataset around the innermost data set, and other wrappers around "
            "InMemoryDataset."
        )
    kinds = {stock.LoadImageFromFile, stock.Resize, stock.ResizeEdge, stock.CenterCrop}
    rest = list(transforms)
    deterministic = []
    while rest and type(rest[0]) in kinds:
        deterministic.append(rest.pop(0))
    crop = rest.pop(0) if rest and type(rest[0]) is stock.RandomCrop else None
    flip = rest.pop(0) if rest and type(rest[0]) is stock.RandomFlip else None
    if len(rest) != 1 or type(rest[0]) is not stock.PackInputs or rest[0].input_key != "img":
        names = ", ".join(type(transform).__name__ for transform in transforms)
        left = ", ".join(type(t).__name__ for t in rest) or "an end without PackInputs"
        raise ICKDError(
            f"InMemoryDataset does not support the pipeline {names} (from {left} on). {SUPPORTED} "
            "Change the pipeline, or remove the wrapper."
        )
    return Stages(deterministic, crop, flip, rest[0])


def read_images(dataset: Any, stages: Stages) -> tuple[Tensor, list[dict[str, Any]]]:
    """Read all images through the deterministic transforms, and pad them for the crop.

    Args:
        dataset: Initialised data set.
        stages: Stages of its pipeline.

    Returns:
        The images, ``(N, C, H, W)`` of the dtype of the first one, and the other results of the
        transforms for each, with ``img_shape`` after padding.

    Raises:
        ICKDError: If there is no image, an image cannot be read, or the sizes differ.
    """
    if len(dataset) == 0:
        raise ICKDError(
            "the data set inside InMemoryDataset is empty: check its data_root, data_prefix and "
            "ann_file."
        )
    progress = Progress(len(dataset), "images", "reading into memory", quiet=True)
    infos = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        name = info.get("img_path", f"sample {index}")
        try:
            for transform in (*stages.deterministic, *_padding(stages.crop)):
                info = transform(info)
            image = stages.pack.format_input(info.pop("img"))
        except Exception as error:  # transforms raise many kinds; the message names the image
            raise ICKDError(
                f"{name} cannot be read into memory ({type(error).__name__}: {str(error)[:200]}). "
                "Repair it, or change the pipeline."
            ) from error
        if index == 0:
            images = image.new_empty(len(dataset), *image.shape)
        if image.shape != images.shape[1:]:
            raise ICKDError(
                f"{name} has shape {tuple(image.shape)} after the deterministic transforms, the "
                f"first image {tuple(images.shape[1:])}: InMemoryDataset needs equal sizes. Begin "
                "the pipeline with LoadImageFromFile and Resize."
            )
        images[index] = image
        infos.append(info)
        progress.step()
    return images, infos


def _padding(crop: Any) -> list[Any]:
    """Return transforms that pad like the crop but keep the whole image; empty without a crop."""
    if crop is None:
        return []
    whole = copy.copy(crop)
    whole.rand_crop_params = lambda image: (0, 0, *image.shape[:2])
    return [whole]


def flip_probabilities(flip: Any) -> dict[str, float]:
    """Return the probability of each direction of mmcv's RandomFlip; empty without a flip.

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
    """Return the device of this name.

    Raises:
        ICKDError: If the name is invalid, or the device cannot be used.
    """
    try:
        device = torch.device(name or "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ICKDError(
            f"InMemoryDataset(device={name!r}) cannot be used here ({str(error)[:200]}). Set "
            "device=None to keep the images in the host's memory."
        ) from error
    return device
