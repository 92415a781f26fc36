"""The frozen teacher of the offline paradigm."""

from __future__ import annotations

import copy
import hashlib
import os
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmickd.registry import TEACHERS
from mmickd.taps import Tap, Tapped, find_classifier
from mmickd.teachers.checkpoint import (
    check_checkpoint_path,
    classes_of,
    fetch,
    load_checkpoint,
    load_strictly,
    state_dict_of,
)
from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.utils.config import ConfigLike, find_config, load_config
from mmickd.utils.errors import ICKDError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@TEACHERS.register_module()
class OfflineTeacher:
    """A trained model, frozen.

    Built under its own scope, loaded strictly, in eval as a whole, without gradients; its forward
    pass ends at its classifier (``mode='tensor'``: no auxiliary head, no resize, no loss). It is
    never a part of the student, so it is in no checkpoint, optimizer or EMA.

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

    def __init__(
        self,
        cfg: ConfigLike,
        checkpoint: str | None = None,
        layer: str = "auto",
        dtype: str = "fp32",
        trust_checkpoint: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ICKDError(f"teacher.dtype='{dtype}': it must be one of {', '.join(DTYPES)}.")
        self.cfg = cfg
        self.checkpoint = "" if checkpoint is None else os.path.expanduser(os.fspath(checkpoint))
        self.layer = layer
        self.dtype = dtype
        self.trust_checkpoint = trust_checkpoint
        self.classes: tuple[str, ...] | None = None
        self._file = ""
        self._model: nn.Module | None = None
        self._tap: Tap | None = None
        self._converter: InputConverter | None = None

    @property
    def model(self) -> nn.Module:
        """The network, after :meth:`build`."""
        assert self._model is not None, "OfflineTeacher.build comes first"
        return self._model

    @property
    def tap(self) -> Tap:
        """Its classifier layer, after :meth:`probe`."""
        assert self._tap is not None, "OfflineTeacher.probe comes first"
        return self._tap

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

    def build(self, device: torch.device, student_preprocessor: nn.Module | None) -> None:
        """Build and load the network.

        Args:
            device: where it runs.
            student_preprocessor: whose output the teacher gets in training.

        Raises:
            ICKDError: if the config cannot be built, or the checkpoint does not fit it.
        """
        self.check_files()
        cfg = load_config(self.cfg, "teacher.cfg")
        model = _build_model(teacher_model_cfg(cfg), _scope_of(cfg, self.cfg))
        checkpoint = load_checkpoint(self._file or self.checkpoint, self.trust_checkpoint)
        load_strictly(model, state_dict_of(checkpoint), self.checkpoint)
        self.classes = classes_of(checkpoint)
        model = revert_sync_batchnorm(model)
        model.requires_grad_(False)
        # As a statement: the ResNet of mmpretrain returns None from train(), hence from eval().
        model.eval()
        model.to(device)
        self._model = model
        target = InputNormalization.of(model.data_preprocessor)
        source = (
            target if student_preprocessor is None else InputNormalization.of(student_preprocessor)
        )
        self._converter = InputConverter(source, target).to(device)

    @torch.no_grad()
    def probe(self, inputs: Tensor) -> Tapped:
        """Find the classifier layer on a first input, and read it.

        Args:
            inputs: ``(B, 3, h, w)``, normalised for the teacher.

        Raises:
            ICKDError: if the layer is not found, or does not run.
        """
        layer = self.layer
        if layer == "auto":
            layer = find_classifier(
                self.model, lambda: self._run(inputs), "teacher", "teacher.layer"
            )
        self._tap = Tap(self.model, layer)
        return self.forward_normalized(inputs)

    def preprocess(self, data: dict[str, Any]) -> Tensor:
        """Collated samples of one size to the teacher's own normalised input ``(B, 3, h, w)``."""
        preprocessor = self.model.data_preprocessor
        return preprocessor(data, False)["inputs"]  # type: ignore[operator]

    def __call__(self, inputs: Tensor) -> Tapped:
        """Features and logits of a training batch.

        Args:
            inputs: ``(B, 3, h, w)``, normalised and augmented for the student.
        """
        assert self._converter is not None
        with torch.no_grad():
            return self.forward_normalized(self._converter(inputs.float()))

    @torch.no_grad()
    def forward_normalized(self, inputs: Tensor) -> Tapped:
        """Features and logits of inputs that are normalised for the teacher."""
        self.tap.arm()
        self._run(inputs)
        tapped = self.tap.take()
        if tapped is None:
            raise ICKDError(
                f"the teacher's layer '{self.tap.layer}' does not run in its forward pass. "
                "Set teacher.layer to the layer that gives the logits."
            )
        return tapped

    def _run(self, inputs: Tensor) -> Any:
        dtype = DTYPES[self.dtype]
        with torch.autocast(
            inputs.device.type,
            dtype=torch.bfloat16 if self.dtype == "fp32" else dtype,
            enabled=self.dtype != "fp32",
        ):
            return self.model(inputs, mode="tensor")

    def fingerprint(self) -> dict[str, str]:
        """What makes its features what they are, as text."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        model_cfg = teacher_model_cfg(load_config(self.cfg, "teacher.cfg"))
        return {
            "teacher_weights": digest.hexdigest(),
            "teacher_config": hashlib.sha256(repr(_sorted(model_cfg)).encode()).hexdigest(),
            "teacher_layer": self.tap.layer,
            "teacher_dtype": self.dtype,
        }


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


def _build_model(model_cfg: dict[str, Any], scope: str | None) -> nn.Module:
    try:
        with ROOT_MODELS.switch_scope_and_registry(scope) as registry:
            return registry.build(ConfigDict(model_cfg))
    except ICKDError:
        raise
    except Exception as error:
        raise ICKDError(
            f"teacher.cfg cannot be built ({type(error).__name__}: {str(error)[:300]})."
        ) from error


def _scope_of(cfg: Any, reference: ConfigLike) -> str | None:
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
