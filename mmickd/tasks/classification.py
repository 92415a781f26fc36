"""Task adapter of image classification (mmpretrain)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmickd.networks.nan_guard import image_name
from mmickd.registry import TASKS
from mmickd.structures import NO_LABEL, Batch, Tapped, View
from mmickd.tasks.base import Task, check_kind, data_sample_ids
from mmickd.tasks.levels import ImageLevel
from mmickd.tasks.sigmoid_losses import check_losses, loaded_class
from mmickd.utils.errors import ICKDError

UNMIXED_SCORE = 1.0 - 1e-6
"""Minimum score of an image's class for an image that is not mixed with another one."""
MAX_SCORE_SUM = 1.01
"""Maximum sum of the scores of an image of one class, or of a mixture of two."""
ONE_CLASS = "In-context distillation needs exactly one class per image: correct the training set."


@TASKS.register_module()
class ClassificationTask(Task):
    """Task of classifiers, and of all models that no other task fits: an image is one location.

    Example:
        >>> list(ClassificationTask.levels)
        ['image']
    """

    levels = {"image": ImageLevel()}

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """True: every model with one classifier layer can be distilled as a classifier."""
        return True

    @classmethod
    def classifier_names(cls, model: nn.Module) -> Sequence[str]:
        """Return the name of the layer in mmpretrain's linear heads."""
        return ("head.fc",)

    def check_student(self, model: nn.Module) -> None:
        """Raise ``ICKDError`` for multi-label heads and sigmoid losses; see the base class."""
        head = getattr(model, "head", None)
        head = model if head is None else head
        if isinstance(head, loaded_class("mmpretrain.models.heads", "MultiLabelClsHead")):
            raise ICKDError(
                f"{type(head).__name__} scores every class by its own sigmoid; in-context "
                "distillation compares softmax distributions over classes that exclude each "
                "other. Use it with single-label heads (for example LinearClsHead)."
            )
        losses = [getattr(owner, "loss_module", None) for owner in (head, model)]
        losses = [loss for loss in losses if loss is not None] or list(head.children())
        check_losses(losses, f"the head of {type(model).__name__}")

    def view(self, teacher: Tapped, batch: Batch, student: Tapped | None = None) -> View:
        """See the base class. A mixed image (mixup, cutmix) has no label; KD applies to it."""
        logits = teacher.logits
        if logits.ndim != 2 or teacher.features.ndim != 2:
            raise ICKDError(
                f"the teacher's classifier layer has features {tuple(teacher.features.shape)} and "
                f"logits {tuple(logits.shape)}; a classifier needs (B, D) and (B, C). Set "
                "teacher.layer to the layer that outputs the logits."
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
        """Return ``(B, D)`` unchanged, maps ``(B, D, h, w)`` averaged to ``cells x cells``, flat.

        Smaller maps repeat cells, so that the width never depends on the size of an image.
        """
        if output.ndim == 4:
            return F.adaptive_avg_pool2d(output, cells).flatten(1)
        if output.ndim != 2:
            raise ICKDError(
                f"teacher.features: the layer outputs {tuple(output.shape)}, but a classifier's "
                "features must be (B, D) or maps (B, D, h, w). Name another layer."
            )
        return output

    def bad_labels(self, data_sample: Any, num_classes: int) -> list[int]:
        """See the base class; raise ``ICKDError`` if the label is no single class."""
        label = int(_single_label(data_sample))
        return [] if 0 <= label < num_classes else [label]

    def check_sample(self, data_sample: Any, name: str = "") -> None:
        """See the base class. Scores without a label are accepted."""
        check_kind(data_sample, name)
        score = getattr(data_sample, "gt_score", None)
        if score is None:
            super().check_sample(data_sample, name)
        if getattr(data_sample, "gt_label", None) is not None:
            _single_label(data_sample, name)
        if isinstance(score, Tensor) and float(score.sum()) > MAX_SCORE_SUM:
            raise ICKDError(
                f"the scores of {name or image_name(data_sample)} add up to "
                f"{float(score.sum()):.3g}: it has several labels. {ONE_CLASS}"
            )

    def has_label(self, data_sample: Any) -> bool:
        """See the base class."""
        return "gt_label" in data_sample


def _single_label(data_sample: Any, name: str = "") -> Tensor:
    """Return the class of an image, int64 scalar.

    Raises:
        ICKDError: If the image has several labels, or a label that is no class number.
    """
    label, name = data_sample.gt_label, name or image_name(data_sample)
    try:
        label = torch.as_tensor(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ICKDError(
            f"gt_label of {name} is a {type(label).__name__}, not a class number. {ONE_CLASS}"
        ) from error
    if label.numel() != 1:
        raise ICKDError(
            f"{name} has {label.numel()} labels (gt_label of shape {tuple(label.shape)}). "
            f"{ONE_CLASS}"
        )
    if label.is_floating_point():
        raise ICKDError(f"gt_label of {name} is {float(label):g}, a {label.dtype}. {ONE_CLASS}")
    return label.reshape(()).long()


def _label(data_sample: Any, device: torch.device) -> Tensor:
    """Return the class of an image, a scalar on ``device``; -1 if it is mixed with another."""
    score = data_sample.get("gt_score") if "gt_score" in data_sample else None
    if score is None:
        return torch.as_tensor(data_sample.gt_label, device=device).reshape(-1)[0].long()
    # After mixup gt_label is the class of only one of the two images; the scores have both.
    best, label = score.to(device).max(dim=0)
    return torch.where(best >= UNMIXED_SCORE, label, NO_LABEL)
