"""Image classification (mmpretrain)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmickd.losses.terms import Defaults
from mmickd.registry import TASKS
from mmickd.structures import NO_LABEL, Batch, Tapped, View
from mmickd.tasks.base import Task, data_sample_ids
from mmickd.tasks.levels import ImageLevel
from mmickd.utils.errors import ICKDError

UNMIXED_SCORE = 1.0 - 1e-6
"""Least score of an image's class at which it counts as not mixed with another image."""


@TASKS.register_module()
class ClassificationTask(Task):
    """One location per image: whatever no other task fits.

    Example:
        >>> list(ClassificationTask.levels)
        ['image']
    """

    levels = {"image": ImageLevel()}
    loss_defaults = Defaults(omitted={"NICDLoss": {"loss_weight": 0.0}})

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """Any model; what tells classes apart by one layer can be distilled as a classifier."""
        return True

    @classmethod
    def classifier_names(cls, model: nn.Module) -> Sequence[str]:
        """That of mmpretrain's linear heads."""
        return ("head.fc",)

    def check_student(self, model: nn.Module) -> None:
        """Refuse multi-label heads; see the base class."""
        head = getattr(model, "head", None)
        if head is not None and type(head).__name__.startswith("MultiLabel"):
            raise ICKDError(
                f"{type(head).__name__} scores every class by its own sigmoid; in-context "
                "distillation compares softmax distributions over classes that exclude each "
                "other. Use it with single-label heads (for example LinearClsHead)."
            )

    def view(self, teacher: Tapped, batch: Batch, student: Tapped | None = None) -> View:
        """See the base class. A mixed image (mixup, cutmix) has no label, but KD applies to it."""
        logits = teacher.logits
        if logits.ndim != 2 or teacher.features.ndim != 2:
            raise ICKDError(
                "the teacher's classifier layer gives features "
                f"{tuple(teacher.features.shape)} and logits {tuple(logits.shape)}; a classifier "
                "is expected to have (B, D) and (B, C). Set teacher.layer to the right layer."
            )
        samples = batch.data_samples
        labels = torch.stack([_label(sample, logits.device) for sample in samples])[:, None]
        return View(
            features=teacher.features[:, None],
            logits=logits[:, None],
            labels=labels,
            valid=torch.ones_like(labels, dtype=torch.bool),
            ids=data_sample_ids(samples, logits.device),
            student_logits=None if student is None else student.logits.float()[:, None],
            student_features=None if student is None else lambda: student.features[:, None],
        )

    def features_of(self, output: Tensor, logits: Tensor, cells: int) -> Tensor:
        """``(B, D)`` as it is; maps ``(B, D, h, w)`` averaged to ``cells x cells``, flattened.

        Smaller maps repeat cells: the width never depends on the size of an image.
        """
        if output.ndim == 4:
            return F.adaptive_avg_pool2d(output, cells).flatten(1)
        if output.ndim != 2:
            raise ICKDError(
                f"teacher.features: that layer gives {tuple(output.shape)}, where a classifier's "
                "features are (B, D) or maps (B, D, h, w). Name another layer."
            )
        return output

    def bad_labels(self, data_sample: Any, num_classes: int) -> list[int]:
        """See the base class.

        Raises:
            ICKDError: if the sample has several labels.
        """
        labels = torch.as_tensor(data_sample.gt_label).flatten().tolist()
        if len(labels) != 1:
            raise ICKDError(
                f"{data_sample.metainfo.get('img_path', 'a sample')} has {len(labels)} labels; "
                "in-context distillation needs exactly one class per image."
            )
        return [label for label in labels if not 0 <= label < num_classes]

    def has_label(self, data_sample: Any) -> bool:
        """See the base class."""
        return "gt_label" in data_sample


def _label(data_sample: Any, device: torch.device) -> Tensor:
    """Class of an image as a scalar on ``device``; -1 if it is mixed with another image."""
    score = data_sample.get("gt_score") if "gt_score" in data_sample else None
    if score is None:
        return torch.as_tensor(data_sample.gt_label, device=device).reshape(-1)[0].long()
    # After mixup gt_label still names one of the two images only; the scores tell the truth.
    best, label = score.to(device).max(dim=0)
    return torch.where(best >= UNMIXED_SCORE, label, NO_LABEL)
