"""Task adapter of semantic segmentation (mmseg)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.networks.nan_guard import image_name
from mmickd.registry import TASKS
from mmickd.structures import Batch, Tapped, View
from mmickd.tasks.base import Task, data_sample_ids
from mmickd.tasks.grid import cell_centres, labels_on_grid, resize
from mmickd.tasks.levels import PixelLevel, RegionLevel
from mmickd.tasks.sigmoid_losses import check_losses
from mmickd.utils.errors import ICKDError


@TASKS.register_module()
class SegmentationTask(Task):
    """Task of segmenters: a cell of the teacher's logits grid is one location.

    Args:
        ignore_index: Label of void pixels (option of the student's head).
        student_align_corners: Option of the student's head, to resize its logits to the teacher's
            grid.
        teacher_align_corners: Option of the teacher's head, to place its grid cells in the image.

    Example:
        >>> list(SegmentationTask(ignore_index=11).levels)
        ['pixel', 'region']
    """

    levels = {"pixel": PixelLevel(), "region": RegionLevel()}
    trains_on_crops = True
    loss_defaults = {
        "KDLoss": {"dense": False},
        "DKDLoss": {"dense": False},
        "NICDLoss": {"num_negatives": 4, "loss_weight": {"value": 4.0, "decay": "linear"}},
    }

    def __init__(
        self,
        ignore_index: int = 255,
        student_align_corners: bool = False,
        teacher_align_corners: bool = False,
    ) -> None:
        self.ignore_index = ignore_index
        self.student_align_corners = student_align_corners
        self.teacher_align_corners = teacher_align_corners

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """True for models with a ``decode_head``, such as mmseg's."""
        return hasattr(model, "decode_head")

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> SegmentationTask:
        """Return the adapter with the options of the two heads that predict."""
        head = last_decode_head(student)
        teacher_head = last_decode_head(teacher) if cls.fits(teacher) else None
        return cls(
            ignore_index=int(getattr(head, "ignore_index", 255)),
            student_align_corners=bool(getattr(head, "align_corners", False)),
            teacher_align_corners=bool(getattr(teacher_head, "align_corners", False)),
        )

    @classmethod
    def classifier_names(cls, model: nn.Module) -> Sequence[str]:
        """Return the name of the layer in the head that predicts: the last head of a cascade."""
        heads = model.decode_head
        last = f".{len(heads) - 1}" if isinstance(heads, nn.ModuleList) else ""
        return (f"decode_head{last}.conv_seg",)

    def check_student(self, model: nn.Module) -> None:
        """Raise ``ICKDError`` for heads with a sigmoid for each class; see the base class."""
        head = last_decode_head(model)
        if getattr(head, "out_channels", None) == 1:
            raise ICKDError(
                f"the decode_head of {type(model).__name__} has out_channels=1: a binary head with "
                "a sigmoid, but in-context distillation compares softmax distributions over "
                "classes. Use out_channels=2 with num_classes=2."
            )
        losses = getattr(head, "loss_decode", None)
        if losses is None:
            losses = head.children()
        elif not isinstance(losses, nn.ModuleList):
            losses = [losses]
        check_losses(losses, f"loss_decode of {type(model).__name__}'s decode_head")

    def view(self, teacher: Tapped, batch: Batch, student: Tapped | None = None) -> View:
        """See the base class. The grid is the teacher's; its features are never resized."""
        logits, features = teacher.logits, teacher.features
        if logits.ndim != 4 or features.shape[-2:] != logits.shape[-2:]:
            raise ICKDError(
                f"the teacher's classifier layer has features {tuple(features.shape)} and logits "
                f"{tuple(logits.shape)}; a segmenter needs (B, D, h, w) and (B, C, h, w). Set "
                "teacher.layer to the layer that outputs the logits."
            )
        labels = torch.cat([self._labels(s, logits, batch.input_shape) for s in batch.data_samples])

        def on_grid(x: Tensor) -> Tensor:
            grid = (logits.shape[2], logits.shape[3])
            return _locations(resize(x, grid, self.student_align_corners))

        return View(
            features=_locations(features),
            logits=_locations(logits),
            labels=labels,
            valid=labels >= 0,
            ids=data_sample_ids(batch.data_samples, logits.device),
            student_logits=None if student is None else on_grid(student.logits.float()),
            student_features=None if student is None else lambda: on_grid(student.features),
            places=lambda: self._places(logits, batch),
        )

    def features_of(self, output: Tensor, logits: Tensor, cells: int) -> Tensor:
        """Resize maps ``(B, D, h, w)`` to the logits' grid, as the teacher's head resizes them."""
        if output.ndim != 4:
            raise ICKDError(
                f"teacher.features: the layer outputs {tuple(output.shape)}, but a segmenter's "
                "features must be maps (B, D, h, w). Name another layer."
            )
        grid = (logits.shape[2], logits.shape[3])
        return resize(output, grid, self.teacher_align_corners)

    def _labels(self, data_sample: Any, logits: Tensor, input_shape: tuple[int, int]) -> Tensor:
        """Return ``(1, L)`` int64: the class of each cell of the teacher's grid."""
        return labels_on_grid(
            label_map(data_sample).to(logits.device),
            (logits.shape[2], logits.shape[3]),
            input_shape,
            _image_shape(data_sample, input_shape),
            self.teacher_align_corners,
            logits.shape[1],
            self.ignore_index,
        ).flatten(1)

    def _places(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return ``(B, L, 2)``: the centre of each cell of the teacher's grid, as in ``View``."""
        centres = cell_centres(
            (logits.shape[2], logits.shape[3]), batch.input_shape, self.teacher_align_corners
        )
        shapes = [_image_shape(sample, batch.input_shape) for sample in batch.data_samples]
        sizes = torch.tensor([(width, height) for height, width in shapes])
        return (centres / sizes[:, None]).to(logits.device)

    def bad_labels(self, data_sample: Any, num_classes: int) -> list[int]:
        """See the base class."""
        labels = label_map(data_sample)
        bad = (labels != self.ignore_index) & ((labels < 0) | (labels >= num_classes))
        return labels[bad].unique().tolist()

    def check_sample(self, data_sample: Any, name: str = "") -> None:
        """See the base class."""
        super().check_sample(data_sample, name)
        label_map(data_sample, name)

    def has_label(self, data_sample: Any) -> bool:
        """See the base class."""
        return "gt_sem_seg" in data_sample

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"ignore_index": self.ignore_index, "align_corners": self.teacher_align_corners}


def label_map(data_sample: Any, name: str = "") -> Tensor:
    """Return ``(1, h, w)``: the class of each pixel.

    Args:
        data_sample: Data sample of one image.
        name: Name of the image, for messages; '' stands for the name in the data sample.

    Raises:
        ICKDError: If the map has another shape, such as RGB maps and maps of gray and alpha.
    """
    labels = getattr(data_sample.gt_sem_seg, "data", None)
    shape = tuple(getattr(labels, "shape", ()))
    if not isinstance(labels, Tensor) or len(shape) < 2 or math.prod(shape[:-2]) != 1:
        file = data_sample.metainfo.get("seg_map_path") or name or image_name(data_sample)
        raise ICKDError(
            f"the label map {file} is a {type(labels).__name__} of shape {shape}, not a Tensor of "
            "shape (1, h, w). Save label maps with one channel that holds the class number of each "
            "pixel: RGB maps have three channels, maps of gray and alpha two."
        )
    return labels.reshape(1, *shape[-2:])


def last_decode_head(model: nn.Module) -> nn.Module:
    """Return the head that predicts: the last head of a cascade."""
    head = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head  # type: ignore[return-value]


def _image_shape(data_sample: Any, input_shape: tuple[int, int]) -> tuple[int, int]:
    """Return ``(h, w)`` of the image inside a padded input."""
    gt_shape = tuple(label_map(data_sample).shape[-2:])
    if gt_shape == tuple(input_shape):
        # In training the ground truth is padded together with the image.
        return input_shape
    height, width = data_sample.metainfo.get("img_shape", input_shape)[:2]
    return min(height, input_shape[0]), min(width, input_shape[1])


def _locations(x: Tensor) -> Tensor:
    """Reshape ``(B, C, h, w)`` to ``(B, h * w, C)``."""
    return x.flatten(2).transpose(1, 2)
