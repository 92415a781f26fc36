"""The frozen teacher of the offline paradigm."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import nn

from mmickd.registry import TEACHERS
from mmickd.teachers.base import BaseTeacher
from mmickd.teachers.checkpoint import (
    check_checkpoint_path,
    classes_of,
    fetch,
    load_checkpoint,
    load_strictly,
    state_dict_of,
)
from mmickd.utils.config import ConfigLike, find_config, load_config
from mmickd.utils.errors import ICKDError


@TEACHERS.register_module()
class OfflineTeacher(BaseTeacher):
    """A trained model, frozen.

    Built under its own scope and loaded strictly.

    Args:
        cfg: config of the trained model: a file, a Config, a dict, ``'mmseg::...'`` or
            ``'mmpretrain::...'``.
        checkpoint: path or URL of its weights.
        layer: name of its last classifier layer; 'auto' finds it.
        dtype: precision of its forward pass, 'fp32', 'fp16' or 'bf16' (autocast), the same while
            the bank is built and in training, whatever the student's autocast says.
        trust_checkpoint: allow a checkpoint that holds more than tensors and plain values (it can
            run code).

    Raises:
        ICKDError: if ``dtype`` is none of the three.
    """

    is_frozen = True

    def __init__(
        self,
        cfg: ConfigLike,
        checkpoint: str | None = None,
        layer: str = "auto",
        dtype: str = "fp32",
        trust_checkpoint: bool = False,
    ) -> None:
        super().__init__(layer, dtype)
        self.cfg = cfg
        self.checkpoint = "" if checkpoint is None else os.path.expanduser(os.fspath(checkpoint))
        self.trust_checkpoint = trust_checkpoint
        self._file = ""

    def check_files(self) -> None:
        """Look whether config and checkpoint are there; building comes much later in a run.

        Raises:
            ICKDError: if one is not.
        """
        if isinstance(self.cfg, (str, os.PathLike)):
            find_config(self.cfg, "teacher.cfg")
        check_checkpoint_path(self.checkpoint)

    def fetch(self) -> None:
        """Download the checkpoint if it is a URL; all ranks call this together.

        Raises:
            ICKDError: on every rank, if one cannot download it.
        """
        self._file = fetch(self.checkpoint)

    def build(self, device: torch.device, student: nn.Module | None) -> None:
        """Build and load the network; see :meth:`BaseTeacher.build`.

        Raises:
            ICKDError: if the config cannot be built, or the checkpoint does not fit it.
        """
        self.check_files()
        cfg = load_config(self.cfg, "teacher.cfg")
        model = build_model(teacher_model_cfg(cfg), scope_of(cfg, self.cfg))
        checkpoint = load_checkpoint(self._file or self.checkpoint, self.trust_checkpoint)
        load_strictly(model, state_dict_of(checkpoint), self.checkpoint)
        self.classes = classes_of(checkpoint)
        self._set_model(revert_sync_batchnorm(model), student, device)

    def fingerprint(self) -> dict[str, str]:
        """What makes its features what they are, as text."""
        model_cfg = teacher_model_cfg(load_config(self.cfg, "teacher.cfg"))
        return self._fingerprint_of(repr(_sorted(model_cfg)))


def teacher_model_cfg(cfg: Any) -> dict[str, Any]:
    """The model of a config, as it is built for a teacher.

    The data preprocessor of the config is merged into the model (else the teacher would get inputs
    without normalisation, silently), nothing is downloaded or initialised, and no batch
    augmentation is left.
    """
    model = copy.deepcopy(cfg.model.to_dict() if hasattr(cfg.model, "to_dict") else cfg.model)
    if cfg.get("data_preprocessor") is not None:
        preprocessor = cfg.data_preprocessor
        preprocessor = getattr(preprocessor, "to_dict", lambda: preprocessor)()
        model.setdefault("data_preprocessor", copy.deepcopy(preprocessor))
    model.pop("init_cfg", None)
    if "pretrained" in model:
        model["pretrained"] = None
    if "decode_head" not in model:
        # Of a classifier this holds batch augmentations only; a segmenter is not built without.
        model.pop("train_cfg", None)
    for part in model.values():
        for block in part if isinstance(part, list) else [part]:
            if isinstance(block, dict):
                block.pop("init_cfg", None)
    return model


def build_model(model_cfg: dict[str, Any], scope: str | None) -> nn.Module:
    """A network under its own scope.

    Raises:
        ICKDError: if it cannot be built.
    """
    try:
        with ROOT_MODELS.switch_scope_and_registry(scope) as registry:
            return registry.build(ConfigDict(model_cfg))
    except ICKDError:
        raise
    except Exception as error:
        raise ICKDError(
            f"teacher.cfg cannot be built ({type(error).__name__}: {str(error)[:300]})."
        ) from error


def scope_of(cfg: Any, reference: ConfigLike | None) -> str | None:
    """Scope of a config: what it says, else its package, else that of the run."""
    if cfg.get("default_scope"):
        return cfg.default_scope
    if isinstance(reference, str) and "::" in reference:
        return reference.partition("::")[0]
    current = DefaultScope.get_current_instance()
    return current.scope_name if current is not None else None


def _sorted(value: Any) -> Any:
    """``value`` with every dict in the order of its keys."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value
