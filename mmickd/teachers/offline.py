"""The teacher of the offline paradigm: a trained model, frozen."""

from __future__ import annotations

import os
from typing import Any

from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmickd.registry import TEACHERS
from mmickd.teachers.checkpoint import TeacherWeights
from mmickd.teachers.models import build_network, model_config, without_initialisation
from mmickd.teachers.network import NetworkTeacher
from mmickd.teachers.run_context import RunContext
from mmickd.utils.config import ConfigLike, check_config_reference, find_config, load_config


@TEACHERS.register_module()
class OfflineTeacher(NetworkTeacher):
    """Trained model, frozen; built in its own scope and loaded strictly.

    Args:
        cfg: Config of the model: a file, a Config, a dict, ``'mmseg::...'`` or
            ``'mmpretrain::...'``.
        checkpoint: Path or URL of the weights, written by torch.save or safetensors.
        layer: Like ``dtype``, ``features`` and ``feature_grid``, an option of
            :class:`~mmickd.teachers.NetworkTeacher`.
        trust_checkpoint: True allows a checkpoint that holds more than tensors and plain values;
            it can run code.

    Raises:
        ICKDError: If an option is out of range.

    Example:
        >>> OfflineTeacher(cfg="configs/teachers/resnet32x4_cifar100.py", dtype="bf16").is_frozen
        True
    """

    def __init__(
        self,
        cfg: ConfigLike,
        checkpoint: str | None = None,
        layer: str = "auto",
        dtype: str = "fp32",
        trust_checkpoint: bool = False,
        features: str = "auto",
        feature_grid: int = 4,
    ) -> None:
        super().__init__(layer, dtype, features, feature_grid)
        check_config_reference(cfg, "cfg")
        self.cfg = cfg
        self.weights = TeacherWeights(checkpoint, trust_checkpoint)

    def check_files(self) -> None:
        """See :meth:`Teacher.check_files`."""
        if isinstance(self.cfg, (str, os.PathLike)):
            find_config(self.cfg, "teacher.cfg")
        self.weights.check()

    def fetch(self) -> None:
        """See :meth:`Teacher.fetch`."""
        self.weights.fetch()

    def make_network(self, run: RunContext) -> nn.Module:
        """Build the model and load its weights; see :meth:`NetworkTeacher.make_network`."""
        cfg = load_config(self.cfg, "teacher.cfg")
        model = build_network(without_initialisation(model_config(cfg)), cfg, self.cfg)
        self.classes = self.weights.load_into(model, "teacher.cfg")
        return revert_sync_batchnorm(model)

    def file_names(self) -> dict[str, str]:
        """See :meth:`NetworkTeacher.file_names`."""
        file_names = {"teacher_checkpoint": self.weights.name}
        if isinstance(self.cfg, (str, os.PathLike)):
            file_names["teacher_config"] = os.path.basename(self.cfg)
        return file_names

    def architecture(self) -> str:
        """See :meth:`NetworkTeacher.architecture`."""
        cfg = load_config(self.cfg, "teacher.cfg")
        return repr(_sorted(without_initialisation(model_config(cfg))))


def _sorted(value: Any) -> Any:
    """Return ``value`` with every dict in the order of its keys."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value
