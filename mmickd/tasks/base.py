"""The task adapter: taps and data samples to a :class:`View`."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.sampling import image_id
from mmickd.structures import NO_ID
from mmickd.taps import Tapped
from mmickd.tasks.view import View


class BaseTask(metaclass=ABCMeta):
    """What differs between kinds of models.

    Attributes:
        levels: levels that the task offers, the default first.
        kd_temperature: default temperature of vanilla KD.
    """

    levels: tuple[str, ...]
    kd_temperature: float

    @abstractmethod
    def check_student(self, model: nn.Module) -> None:
        """Refuse models whose logits are not one softmax over the classes.

        Raises:
            ICKDError: with the reason.
        """

    @abstractmethod
    def view(
        self,
        teacher: Tapped,
        data_samples: Sequence[Any],
        input_shape: tuple[int, int],
        student_logits: Tensor | None = None,
    ) -> View:
        """A batch at all its locations.

        Args:
            teacher: input and output of the teacher's classifier.
            data_samples: ``B`` data samples of mmpretrain or mmseg.
            input_shape: ``(h, w)`` in pixels of the network's input, padding included.
            student_logits: output of the student's classifier, ``(B, C[, h, w])``.
        """

    @abstractmethod
    def bad_labels(self, data_sample: Any, num_classes: int) -> list[int]:
        """Labels of a data sample that are neither a class nor ignored."""

    @abstractmethod
    def has_label(self, data_sample: Any) -> bool:
        """Whether the data sample carries its ground truth."""


def data_sample_id(data_sample: Any) -> int:
    """Identity of the image of a data sample: its path, else its place in the data set."""
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
