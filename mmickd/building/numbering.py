"""Numbers of the images of concatenated data sets whose images have no paths."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mmickd.utils.errors import ICKDError


class NumberedInfo:
    """Replacement for ``get_data_info`` of a part, with ``sample_idx`` counted over all parts.

    Args:
        dataset: Data set of the part.
        offset: Number of its first image.
    """

    def __init__(self, dataset: Any, offset: int) -> None:
        self.dataset, self.offset = dataset, offset

    def __call__(self, idx: int) -> dict[str, Any]:
        """Return the data set's annotation with the number over all parts."""
        info = type(self.dataset).get_data_info(self.dataset, idx)
        info["sample_idx"] += self.offset
        return info


def offsets_of(datasets: Sequence[Any]) -> list[int]:
    """Return the number of the first image of each part; a repeated part has the same number.

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
    """Number the images without paths of each part, beginning at its offset, in place.

    Returns:
        True if any part was changed.
    """
    is_changed = False
    for dataset, offset in zip(datasets, offsets, strict=True):
        if offset and needs_number(dataset):
            dataset.get_data_info = NumberedInfo(dataset, offset)
            is_changed = True
    return is_changed


def number_training_images(parts: Sequence[Any], has_worker_copies: bool) -> None:
    """Number the training images of concatenated data sets without paths as in the bank.

    Args:
        parts: Parts of the training set (:func:`~mmickd.building.parts.leaf_datasets`); changed
            in place.
        has_worker_copies: True if worker processes have copies of the data sets already.

    Raises:
        ICKDError: If images must be numbered, and worker processes already have copies of the data
            sets.
    """
    if number_images(parts, offsets_of(parts)) and has_worker_copies:
        raise ICKDError(
            "the training set concatenates data sets whose images have no img_path, and its "
            "workers were started before the images got unique numbers: set "
            "train_dataloader.num_workers=0, use an EpochBasedTrainLoop, or return img_path in "
            "load_data_list of each part."
        )


def needs_number(dataset: Any) -> bool:
    """True if a data set's first annotation has a number, but no path."""
    if not hasattr(type(dataset), "get_data_info") or not len(dataset):
        return False
    info = dataset.get_data_info(0)
    return not info.get("img_path") and "sample_idx" in info
