"""Base class of the task adapters, and the ids of images."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.losses.terms import Defaults
from mmickd.networks.nan_guard import image_name
from mmickd.sampling import image_id
from mmickd.structures import NO_ID, Batch, Tapped, View
from mmickd.tasks.levels import Level
from mmickd.utils.errors import ICKDError


class Task(metaclass=ABCMeta):
    """Adapter of a kind of model, which converts taps and data samples to a :class:`View`.

    :func:`~mmickd.tasks.task_for` finds the tasks registered in :data:`mmickd.registry.TASKS`. If
    several fit a model, the task that was registered last is used.

    Attributes:
        levels: Units of a query, by their names in the hook's ``level``; the first is the default.
        trains_on_crops: True if training uses parts of images and evaluation whole images of the
            same scale.
        loss_defaults: Options by type of loss that differ from the defaults of the loss.

    Example:
        >>> from mmickd.tasks import ClassificationTask  # docs/examples/new_task.py has a new one
        >>> ClassificationTask.fits(nn.Linear(2, 2)), ClassificationTask().settings()
        (True, {})
    """

    levels: Mapping[str, Level]
    trains_on_crops: bool = False
    loss_defaults: Defaults = MappingProxyType({})

    @classmethod
    @abstractmethod
    def fits(cls, model: nn.Module) -> bool:
        """True if this task can adapt the model."""

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> Task:
        """Return the adapter of a student and its teacher."""
        return cls()

    @classmethod
    def classifier_names(cls, model: nn.Module) -> Sequence[str]:
        """Return the usual names of the last classifier layer in models of this kind."""
        return ()

    def check_student(self, model: nn.Module) -> None:  # noqa: B027 (some need none)
        """Raise ``ICKDError`` if the model's logits are not one softmax over the classes."""

    @abstractmethod
    def view(self, teacher: Tapped, batch: Batch, student: Tapped | None = None) -> View:
        """Return the view of a batch at all its locations.

        Args:
            teacher: Input and output of the teacher's classifier layer.
            batch: Input of teacher and student.
            student: Input and output of the student's classifier layer; None while a bank is built.
        """

    def features_of(self, output: Tensor, logits: Tensor, cells: int) -> Tensor:
        """Return the output of any layer of the teacher as features of its logits' locations.

        Args:
            output: Output of the layer.
            logits: Output of the classifier layer for the same images.
            cells: Side of the grid to which a map is averaged if an image is one location.

        Raises:
            ICKDError: If the task cannot assign an output of this shape to locations.
        """
        raise ICKDError(
            f"teacher.features: {type(self).__name__} can retrieve only by the input of the "
            "classifier layer. Set it to 'auto'."
        )

    def check_sample(self, data_sample: Any, name: str = "") -> None:
        """Raise ``ICKDError`` for a training sample that :meth:`view` cannot read.

        Args:
            data_sample: Data sample of one image.
            name: Name of the image, for messages; '' stands for the name in the data sample.

        Raises:
            ICKDError: With the image, the type of the sample, and the shape of a bad label.
        """
        check_kind(data_sample, name)
        if not self.has_label(data_sample):
            keys = ", ".join(data_sample.keys()) if hasattr(data_sample, "keys") else ""
            raise ICKDError(
                f"{name or image_name(data_sample)} has no label that {type(self).__name__} can "
                f"read: its data sample ({type(data_sample).__name__}) holds {keys or 'nothing'}. "
                "Load its label in the pipeline of train_dataloader, and pack one task only."
            )

    @abstractmethod
    def has_label(self, data_sample: Any) -> bool:
        """True if the data sample carries its ground truth."""

    @abstractmethod
    def bad_labels(self, data_sample: Any, num_classes: int) -> list[int]:
        """Return the labels of a data sample that are neither a class nor ignored."""

    def settings(self) -> dict[str, Any]:
        """Return the settings that change the rows of a bank, for the bank's fingerprint."""
        return {}


def check_kind(data_sample: Any, name: str) -> None:
    """Raise ``ICKDError`` if the value is no data sample (but a bare label, for example)."""
    if not hasattr(data_sample, "metainfo"):
        raise ICKDError(
            f"the data sample of {name or 'a training image'} is of type "
            f"{type(data_sample).__name__}, which has no metainfo: end the "
            "pipeline of train_dataloader with PackInputs (mmpretrain) or PackSegInputs (mmseg)."
        )


def data_sample_id(data_sample: Any) -> int:
    """Return the id of an image: a hash of its path, else of its index in the data set."""
    meta = data_sample.metainfo
    if meta.get("img_path"):
        return image_id(str(meta["img_path"]))
    index = meta.get("sample_idx")
    return NO_ID if index is None else image_id(f"#{int(index)}")


def data_sample_ids(data_samples: Sequence[Any], device: torch.device) -> Tensor:
    """Return ``(B,)`` int64 ids on ``device``, copied without a host synchronisation."""
    ids = torch.tensor([data_sample_id(sample) for sample in data_samples], dtype=torch.long)
    if device.type == "cuda":
        return ids.pin_memory().to(device, non_blocking=True)
    return ids.to(device)
