"""What every teacher does: its forward pass, ended and read at its classifier."""

from __future__ import annotations

import hashlib
from abc import ABCMeta, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.taps import Tap, Tapped, find_classifier
from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.utils.errors import ICKDError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class BaseTeacher(metaclass=ABCMeta):
    """A model in eval, without gradients, that is no part of the student.

    Its forward pass ends at its classifier (``mode='tensor'``: no auxiliary head, no resize, no
    loss). It is in no optimizer or EMA of the student.

    Args:
        layer: name of its last classifier layer; 'auto' finds it.
        dtype: precision of its forward pass, 'fp32', 'fp16' or 'bf16' (autocast), the same while
            a bank is built and in training, whatever the student's autocast says.

    Raises:
        ICKDError: if ``dtype`` is none of the three.
    """

    resume: str = "strict"
    """Whether a teacher that learns must be found in a resumed checkpoint, or may be 'fresh'."""
    classes: tuple[str, ...] | None = None
    """Names of the classes that it was trained on, in order; None if not known."""

    def __init__(self, layer: str = "auto", dtype: str = "fp32") -> None:
        if dtype not in DTYPES:
            raise ICKDError(f"teacher.dtype='{dtype}': it must be one of {', '.join(DTYPES)}.")
        self.layer = layer
        self.dtype = dtype
        self._model: nn.Module | None = None
        self._tap: Tap | None = None
        self._converter: InputConverter | None = None

    @property
    def model(self) -> nn.Module:
        """The network, after :meth:`build`."""
        assert self._model is not None, "build comes first"
        return self._model

    @property
    def tap(self) -> Tap:
        """Its classifier layer, after :meth:`probe`."""
        assert self._tap is not None, "probe comes first"
        return self._tap

    @property
    @abstractmethod
    def is_frozen(self) -> bool:
        """Whether it never changes, so that a bank of it can be built once and cached."""

    @abstractmethod
    def check_files(self) -> None:
        """Look whether its files are there; building comes much later in a run.

        Raises:
            ICKDError: if one is not.
        """

    @abstractmethod
    def fetch(self) -> None:
        """Download what is to be downloaded; all ranks call this together.

        Raises:
            ICKDError: on every rank, if one cannot download it.
        """

    @abstractmethod
    def build(self, device: torch.device, student: nn.Module | None) -> None:
        """Make the network.

        Args:
            device: where it runs.
            student: the unwrapped student, whose preprocessor gives what the teacher gets in
                training.

        Raises:
            ICKDError: if it cannot be made.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What makes the features of a frozen teacher what they are, as text."""

    @property
    def is_ready(self) -> bool:
        """Whether there is something to learn from it yet."""
        return True

    def update(self, student: nn.Module, ends_epoch: bool) -> None:  # noqa: B027 (most need none)
        """Learn from the student's step; most teachers do not."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of a teacher that learns."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 (most need none)
        """Take over what :meth:`state_dict` gave."""

    def _set_model(self, model: nn.Module, student: nn.Module | None, device: torch.device) -> None:
        """Freeze ``model`` and take it as the network."""
        model.requires_grad_(False)
        # As a statement: the ResNet of mmpretrain returns None from train(), hence from eval().
        model.eval()
        model.to(device)
        self._model = model
        target = InputNormalization.of(model.data_preprocessor)  # type: ignore[arg-type]
        own = getattr(student, "data_preprocessor", None)
        source = target if own is None else InputNormalization.of(own)
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
        self.attach(layer)
        return self.forward_normalized(inputs)

    def attach(self, layer: str) -> None:
        """Read the classifier layer of this name from now on."""
        self._tap = Tap(self.model, layer)

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

    def _fingerprint_of(self, architecture: str) -> dict[str, str]:
        """What makes the features of a frozen teacher what they are, as text."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return {
            "teacher_weights": digest.hexdigest(),
            "teacher_config": hashlib.sha256(architecture.encode()).hexdigest(),
            "teacher_layer": self.tap.layer,
            "teacher_dtype": self.dtype,
        }
