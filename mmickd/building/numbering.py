"""Numbers of the images of joined data sets, where images have no paths to tell them apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mmickd.utils.errors import ICKDError


class Numbered:
    """``get_data_info`` of a part whose images are numbered over all parts (``sample_idx``).

    Args:
        dataset: the part.
        offset: number of its first image.
    """

    def __init__(self, dataset: Any, offset: int) -> None:
        self.dataset, self.offset = dataset, offset

    def __call__(self, idx: int) -> dict[str, Any]:
        """The annotation as the data set's class gives it, with its number."""
        info = type(self.dataset).get_data_info(self.dataset, idx)
        info["sample_idx"] += self.offset
        return info


def offsets_of(datasets: Sequence[Any]) -> list[int]:
    """Number of the first image of each part; of one that comes twice, the same.

    Example:
        >>> first, second = [0, 0], [1]
        >>> offsets_of([first, second, first])
        [0, 2, 0]
    """
    distinct = {id(dataset): dataset for dataset in datasets}
    ends = itertools.accumulate(len(dataset) for dataset in distinct.values())
    offsets = dict(zip(distinct, [0, *ends], strict=False))
    return [offsets[id(dataset)] for dataset in datasets]


def number_images(datasets: Sequence[Any], offsets: Sequence[int]) -> bool:
    """Number the images of each part from its offset on, in place; images with paths stay.

    Returns:
        True if any part was changed.
    """
    is_changed = False
    for dataset, offset in zip(datasets, offsets, strict=True):
        if offset and needs_number(dataset):
            dataset.get_data_info = Numbered(dataset, offset)
            is_changed = True
    return is_changed


def number_training_images(parts: Sequence[Any], has_worker_copies: bool) -> None:
    """Give training samples of joined data sets without paths the numbers that the bank knows.

    Args:
        parts: of the live training set, see :func:`~mmickd.building.parts.leaf_datasets`; they are
            changed.
        has_worker_copies: True if worker processes hold copies, which cannot be changed anymore.

    Raises:
        ICKDError: if there are such parts, and they are read already.
    """
    if number_images(parts, offsets_of(parts)) and has_worker_copies:
        raise ICKDError(
            "the training set joins data sets whose images have no img_path, and its workers read "
            "them already, so that images of different parts cannot be told apart: set "
            "train_dataloader.num_workers=0, use an EpochBasedTrainLoop, or give img_path in "
            "load_data_list of each part."
        )


def needs_number(dataset: Any) -> bool:
    """True if a data set's first annotation is numbered, and names no file."""
    if not hasattr(type(dataset), "get_data_info") or not len(dataset):
        return False
    info = dataset.get_data_info(0)
    return not info.get("img_path") and "sample_idx" in info
