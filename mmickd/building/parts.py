"""Parts of a training set: the data sets inside wrappers, with their training transforms."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import Compose
from torch.utils.data import Subset

from mmickd.building.numbering import NumberedInfo
from mmickd.building.transforms import try_deepcopy
from mmickd.utils.errors import ICKDError


@dataclass(frozen=True)
class Part:
    """Data set inside wrappers, with its training transforms.

    Args:
        dataset: The data set itself, as training uses it.
        pipeline: Transforms of the data set, then transforms of its wrappers
            (MultiImageMixDataset); None if there are none.
    """

    dataset: Any
    pipeline: Any

    @property
    def kind(self) -> str:
        """Name of the data set's class."""
        return type(self.dataset).__name__

    def places(self) -> list[int]:
        """Return the indices of the first, the middle and the last image."""
        count = len(self.dataset)
        return sorted({0, count // 2, count - 1}) if count else []

    def samples(self) -> Iterator[Any]:
        """Yield the input of the pipeline at each of :meth:`places`."""
        for place in self.places():
            try:
                yield self.with_pipeline(try_deepcopy)[place]
            except Exception:  # check_pipelines reads it again and explains the error
                continue

    def with_pipeline(self, pipeline: Any) -> Any:
        """Return the data set with another pipeline and the same ``test_mode``."""
        test_mode = bool(getattr(self.dataset, "test_mode", False))
        return with_pipeline(self.dataset, pipeline, test_mode)


def parts_of(dataset: Any) -> list[Part]:
    """Return the data sets inside wrappers, in order.

    RepeatDataset, ClassBalancedDataset and MultiImageMixDataset have one part. ConcatDataset has
    the parts of all its data sets. The part of KFoldDataset is the subset of its fold.

    Raises:
        ICKDError: If the data set is a torch Subset.
    """
    if isinstance(dataset, Subset):
        raise ICKDError(
            "the training set is a torch Subset, whose choice of images mmickd cannot read. Use "
            "indices=... of the data set, KFoldDataset, or get_subset of mmengine."
        )
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    if hasattr(dataset, "datasets"):
        parts = [part for inner in dataset.datasets for part in parts_of(inner)]
    elif hasattr(dataset, "dataset"):
        parts = parts_of(dataset.dataset)
    else:
        return [Part(dataset, getattr(dataset, "pipeline", None))]
    pipeline = getattr(dataset, "pipeline", None)
    if pipeline is None:
        return parts
    return [Part(part.dataset, _chain(part.pipeline, pipeline)) for part in parts]


def _chain(*pipelines: Any) -> Any:
    transforms: list[Any] = []
    for pipeline in pipelines:
        if isinstance(pipeline, (list, tuple)):
            transforms += pipeline
        elif pipeline is not None:
            transforms.append(pipeline)
    return Compose(transforms)


def leaf_datasets(dataset: Any) -> list[Any]:
    """Return the data sets of :func:`parts_of`.

    Raises:
        ICKDError: If the data set is a torch Subset.
    """
    return [part.dataset for part in parts_of(dataset)]


def with_pipeline(dataset: Any, pipeline: Any, test_mode: bool = True) -> Any:
    """Return a shallow copy of a data set with another pipeline.

    Args:
        dataset: Data set of mmengine (BaseDataset), or similar.
        pipeline: A callable.
        test_mode: True raises an error for an image that cannot be read; False silently reads
            another image.

    Raises:
        ICKDError: If the data set has no pipeline.
    """
    if not hasattr(dataset, "pipeline"):
        raise ICKDError(
            f"{type(dataset).__name__} has no pipeline: the memory bank needs a data set derived "
            "from mmengine's BaseDataset, or a wrapper of one."
        )
    view = copy.copy(dataset)
    if isinstance(vars(view).get("get_data_info"), NumberedInfo):
        view.get_data_info = NumberedInfo(view, view.get_data_info.offset)
    view.pipeline = pipeline
    view.test_mode = test_mode
    return view
