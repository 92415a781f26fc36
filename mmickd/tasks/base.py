"""The task adapter: the only place where kinds of models differ."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
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
    """Adapter of a kind of model: it reads taps and data samples into a :class:`View`.

    Registered in :data:`mmickd.registry.TASKS` it is found by :func:`~mmickd.tasks.task_for`: of
    all that fit a model the one that was registered last.

    Attributes:
        levels: what a query can be, by the name that the hook's ``level`` gives it; the first one
            is the default.
        trains_on_crops: whether training shows parts of images, which evaluation shows whole at the
            same scale.
        loss_defaults: of the terms that a config does not spell out.

    Example:
        >>> from mmickd.tasks import ClassificationTask  # docs/examples/new_task.py has a new one
        >>> ClassificationTask.fits(nn.Linear(2, 2)), ClassificationTask().settings()
        (True, {})
    """

    levels: Mapping[str, Level]
    trains_on_crops: bool = False
    loss_defaults: Defaults = Defaults()

    @classmethod
    @abstractmethod
    def fits(cls, model: nn.Module) -> bool:
        """Whether this is the task of a model."""

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> Task:
        """The adapter of a student and its teacher."""
        return cls()

    @classmethod
    def classifier_names(cls, model: nn.Module) -> Sequence[str]:
        """Where models of this kind usually keep their last classifier layer."""
        return ()

    def check_student(self, model: nn.Module) -> None:  # noqa: B027 (some need none)
        """Refuse models whose logits are not one softmax over the classes.

        Raises:
            ICKDError: with the reason.
        """

    @abstractmethod
    def view(self, teacher: Tapped, batch: Batch, student: Tapped | None = None) -> View:
        """A batch at all its locations.

        Args:
            teacher: input and output of the teacher's classifier.
            batch: what teacher and student were shown.
            student: input and output of the student's classifier; None while a bank is built.
        """

    def features_of(self, output: Tensor, logits: Tensor, cells: int) -> Tensor:
        """The output of any layer of the teacher as features of the locations of its logits.

        Args:
            output: of a layer.
            logits: of the classifier layer, of the same images.
            cells: per side that the maps of an image with one location are averaged to.

        Raises:
            ICKDError: if the output has another shape than the task can place.
        """
        raise ICKDError(
            f"teacher.features: {type(self).__name__} retrieves by what the classifier layer takes "
            "only. Set it to 'auto'."
        )

    def check_sample(self, data_sample: Any, name: str = "") -> None:
        """Refuse a training sample that :meth:`view` cannot read.

        Args:
            data_sample: of one image.
            name: of the image, for messages; '': as the data sample has it.

        Raises:
            ICKDError: with the image, the kind of the sample, and the shape of its label where that
                is wrong.
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
        """Whether the data sample carries its ground truth."""

    @abstractmethod
    def bad_labels(self, data_sample: Any, num_classes: int) -> list[int]:
        """Labels of a data sample that are neither a class nor ignored."""

    def settings(self) -> dict[str, Any]:
        """Settings that decide how rows of a bank come out, for the bank's fingerprint."""
        return {}


def check_kind(data_sample: Any, name: str) -> None:
    """Refuse what is no data sample, such as a bare label.

    Raises:
        ICKDError: with its type.
    """
    if not hasattr(data_sample, "metainfo"):
        raise ICKDError(
            f"the data sample of {name or 'a training image'} is of type "
            f"{type(data_sample).__name__}, which has no metainfo: end the "
            "pipeline of train_dataloader with PackInputs (mmpretrain) or PackSegInputs (mmseg)."
        )


def data_sample_id(data_sample: Any) -> int:
    """Identity of the image of a data sample: its path, else its number in the data set."""
    meta = data_sample.metainfo
    if meta.get("img_path"):
        return image_id(str(meta["img_path"]))
    index = meta.get("sample_idx")
    return NO_ID if index is None else image_id(f"#{int(index)}")


def data_sample_ids(data_samples: Sequence[Any], device: torch.device) -> Tensor:
    """``(B,)`` int64 ids on ``device``, copied without stopping the host."""
    ids = torch.tensor([data_sample_id(sample) for sample in data_samples], dtype=torch.long)
    if device.type == "cuda":
        return ids.pin_memory().to(device, non_blocking=True)
    return ids.to(device)
