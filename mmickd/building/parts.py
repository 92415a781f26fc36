"""The data sets inside of wrappers, each with the transforms that its images meet in training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import Compose
from torch.utils.data import Subset

from mmickd.building.numbering import Numbered
from mmickd.building.transforms import copied
from mmickd.utils.errors import ICKDError


@dataclass(frozen=True)
class Part:
    """A data set without wrappers.

    Args:
        dataset: live.
        pipeline: its transforms and those of wrappers around it (MultiImageMixDataset); None if
            it has none.
    """

    dataset: Any
    pipeline: Any

    @property
    def kind(self) -> str:
        """Name of its class."""
        return type(self.dataset).__name__

    def places(self) -> list[int]:
        """The first image, one in the middle and the last."""
        count = len(self.dataset)
        return sorted({0, count // 2, count - 1}) if count else []

    def samples(self) -> Iterator[Any]:
        """Yield the input of the pipeline for each of :meth:`places`."""
        for place in self.places():
            try:
                yield self.reads_by(copied)[place]
            except Exception:  # it is read again, and what is wrong is explained then
                continue

    def reads_by(self, pipeline: Any) -> Any:
        """The data set with another pipeline, otherwise as it is."""
        is_of_test = bool(getattr(self.dataset, "test_mode", False))
        return with_pipeline(self.dataset, pipeline, is_of_test)


def parts_of(dataset: Any) -> list[Part]:
    """The data sets inside of wrappers, in order.

    RepeatDataset, ClassBalancedDataset, MultiImageMixDataset: what they wrap; ConcatDataset: its
    parts; KFoldDataset: the subset of its fold.

    Raises:
        ICKDError: for a torch Subset.
    """
    if isinstance(dataset, Subset):
        raise ICKDError(
            "the training set is a torch Subset, which keeps its choice of images to itself: use "
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
    after = getattr(dataset, "pipeline", None)
    if after is None:
        return parts
    return [Part(part.dataset, _chained(part.pipeline, after)) for part in parts]


def _chained(first: Any, then: Any) -> Any:
    chained: list[Any] = []
    for pipeline in (first, then):
        if isinstance(pipeline, (list, tuple)):
            chained += pipeline
        elif pipeline is not None:
            chained.append(pipeline)
    return Compose(chained)


def leaf_datasets(dataset: Any) -> list[Any]:
    """The data sets of :func:`parts_of`.

    Raises:
        ICKDError: for a torch Subset.
    """
    return [part.dataset for part in parts_of(dataset)]


def with_pipeline(dataset: Any, pipeline: Any, test_mode: bool = True) -> Any:
    """A shallow copy of ``dataset`` that reads its images through ``pipeline``.

    Args:
        dataset: of mmengine's kind.
        pipeline: one callable.
        test_mode: True lets a bad image be an error; else another image silently replaces it.

    Raises:
        ICKDError: if it has no pipeline.
    """
    if not hasattr(dataset, "pipeline"):
        raise ICKDError(
            f"{type(dataset).__name__} has no pipeline to replace: the memory bank needs a data "
            "set of mmengine's kind (BaseDataset), or a wrapper of one."
        )
    view = copy.copy(dataset)
    if isinstance(vars(view).get("get_data_info"), Numbered):
        view.get_data_info = Numbered(view, view.get_data_info.offset)
    view.pipeline = pipeline
    view.test_mode = test_mode
    return view
