"""A teacher of one network that is not trained by gradients here."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.networks.classifier_layer import find_classifier
from mmickd.networks.dry_run import explained, explained_labels
from mmickd.networks.nan_guard import check_finite, image_name
from mmickd.networks.taps import Tap
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Tapped, View
from mmickd.tasks import Task, kind_of_task, task_for
from mmickd.teachers.base import MemoryFactory, Source, Teacher
from mmickd.teachers.feature_layer import FeatureLayer
from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.teachers.run_context import RunContext
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import check_choice, check_integer

OWNER = "the teacher", "teacher.layer"
"""Whose layer it is and the option that names it, for messages."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class NetworkTeacher(Teacher):
    """A network in eval, without gradients.

    Its forward pass ends at its classifier (``mode='tensor'``: no auxiliary head, no resize, no
    loss). A subclass says what the network is (:meth:`make_network`), and, if it learns, how
    (:meth:`after_step`, :meth:`own_state`, :meth:`load_own_state`).

    Args:
        layer: name of its last classifier layer; 'auto' finds it.
        dtype: precision of its forward pass, 'fp32', 'fp16' or 'bf16' (autocast), the same while
            a bank is built and in training, whatever the student's autocast says.
        features: name of the layer whose output is retrieved by; 'auto': what the classifier layer
            takes. An earlier layer knows less of the labels that the network was trained on: the
            better choice where they may be wrong.
        feature_grid: cells per side that the maps of such a layer of a classifier are averaged to.

    Raises:
        ICKDError: if an option is out of range.

    Example:
        >>> class GivenTeacher(NetworkTeacher):  # docs/examples/frozen_teacher.py has a useful one
        ...     def make_network(self, run):
        ...         return run.student
        >>> GivenTeacher(dtype="bf16").is_frozen
        True
    """

    is_frozen = True

    def __init__(
        self,
        layer: str = "auto",
        dtype: str = "fp32",
        features: str = "auto",
        feature_grid: int = 4,
    ) -> None:
        for name, value in (("layer", layer), ("features", features)):
            if not isinstance(value, str):
                raise OptionError(name, value, "it must be 'auto' or the name of a layer.")
        check_choice(dtype, DTYPES, "dtype")
        check_integer(feature_grid, 1, "feature_grid")
        self.layer, self.dtype = layer, dtype
        self.features, self.feature_grid = features, feature_grid
        self._features: FeatureLayer | None = None
        self._model: nn.Module | None = None
        self._tap: Tap | None = None
        self._task: Task | None = None
        self._converter: InputConverter | None = None
        self._memory: Memory | None = None
        self._width = 0

    @abstractmethod
    def make_network(self, run: RunContext) -> nn.Module:
        """The network with its weights, a model as mmengine's runners train them.

        Raises:
            ICKDError: if it cannot be made.
        """

    @property
    def model(self) -> nn.Module:
        """The network, after :meth:`build`."""
        assert self._model is not None, "build comes first"
        return self._model

    @property
    def task(self) -> Task:
        """Adapter of student and teacher, after :meth:`build`."""
        assert self._task is not None, "build comes first"
        return self._task

    @property
    def tap(self) -> Tap:
        """Its classifier layer, after :meth:`look`."""
        assert self._tap is not None, "look comes first"
        return self._tap

    @property
    def memory(self) -> Memory:
        """Its memory, after :meth:`open`."""
        assert self._memory is not None, "open comes first"
        return self._memory

    def build(self, run: RunContext) -> None:
        """See :meth:`Teacher.build`."""
        model = self.make_network(run)
        try:
            task_for(model, model).check_student(model)
        except ICKDError as error:
            raise ICKDError(f"the teacher: {error}") from error
        self.adopt(model, run.student, run.device)

    def adopt(self, model: nn.Module, student: nn.Module, device: torch.device) -> None:
        """Freeze ``model`` and take it as the network.

        Args:
            model: with its data preprocessor.
            student: the unwrapped student, whose preprocessor gives what the teacher gets in
                training.
            device: where it runs.
        """
        model.requires_grad_(False)
        # As a statement: the ResNet of mmpretrain returns None from train(), hence from eval().
        model.eval()
        model.to(device)
        self._model, self._task = model, task_for(student, model)
        self._converter = InputConverter.between(
            student if hasattr(student, "data_preprocessor") else model, model
        ).to(device)

    def dry_run(self, batch: Batch, student_layer: str) -> None:
        """See :meth:`Teacher.dry_run`."""
        remedy = "Use a teacher for such images, or train on images of its size and channels."
        with explained("the teacher", "training images", batch.inputs.shape, remedy):
            usual = kind_of_task(self.model).classifier_names(self.model)
            inputs = self.converted(batch.inputs)
            run = partial(self._run, inputs)
            layer = find_classifier(self.model, run, usual, *OWNER, self.layer)
            self.attach(layer)
            tapped = self.forward_normalized(inputs)
        check_finite(tapped, batch.data_samples, "the teacher")
        with explained_labels(batch.data_samples):
            self.task.view(tapped, batch)
        self._width = tapped.features.shape[1]

    @property
    def width(self) -> int:
        """``D`` of its features, once it was looked at."""
        return self._width

    def view_of_bank_images(
        self, samples: Sequence[dict[str, Any]], student: Tapped | None = None
    ) -> View:
        """Run on images as the bank is built from them, after :meth:`look`.

        Args:
            samples: packed (``inputs`` and ``data_samples``), of one size; the preprocessor may
                change them.
            student: what its classifier layer took and gave for the same images, if it was asked.

        Raises:
            ICKDError: if it cannot run on them, or gives NaN or Inf.
        """
        data = {name: [sample[name] for sample in samples] for name in ("inputs", "data_samples")}
        images = f"an image that the memory bank reads, {image_name(data['data_samples'][0])},"
        size, remedy = data["inputs"][0].shape, "Check data_preprocessor in teacher.cfg."
        with explained("the teacher's data_preprocessor", images, size, remedy):
            inputs = self.preprocess(data)
        remedy = "Set bank.pipeline to transforms that make images of its size and channels."
        with explained("the teacher", images, size, remedy):
            tapped = self.forward_normalized(inputs)
        check_finite(tapped, data["data_samples"], "the teacher")
        with explained_labels(data["data_samples"]):
            return self.task.view(tapped, Batch(inputs, data["data_samples"]), student)

    def attach(self, layer: str) -> None:
        """Read the classifier layer of this name from now on."""
        self._tap = Tap(self.model, layer)
        if self.features != "auto":
            self._features = FeatureLayer(self.model, self.features, self.feature_grid)

    @property
    def frozen_network(self) -> NetworkTeacher | None:
        """See :meth:`Teacher.frozen_network`."""
        return self if self.is_frozen else None

    @property
    def class_counts(self) -> Mapping[str, int]:
        """See :meth:`Teacher.class_counts`."""
        return {"the teacher": self.tap.num_classes}

    def open(self, remember: MemoryFactory, momentum: float | None) -> None:
        """See :meth:`Teacher.open`."""
        self._memory = remember(self._width)

    @property
    def layers(self) -> str:
        """See :meth:`Teacher.layers`."""
        by = "" if self._features is None else f" (rows are retrieved by {self.features})"
        return f"{self.tap.layer}{by}"

    @property
    def memories(self) -> Mapping[str, Memory]:
        """See :meth:`Teacher.memories`."""
        return {"teacher": self.memory}

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See :meth:`Teacher.forward`."""
        return [Source(self.task, self.memory, cache(lambda: self(batch.inputs)))]

    def __call__(self, inputs: Tensor) -> Tapped:
        """Features and logits of a training batch.

        Args:
            inputs: ``(B, 3, h, w)``, normalised and augmented for the student.
        """
        return self.forward_normalized(self.converted(inputs))

    def converted(self, inputs: Tensor) -> Tensor:
        """A training batch, normalised for the student, as it is normalised for the teacher."""
        assert self._converter is not None
        return self._converter(inputs.float())

    @property
    def swaps_channels(self) -> bool:
        """Whether its data preprocessor reverses the order of an image's channels."""
        return InputNormalization.read(self.model.data_preprocessor).swaps_channels  # type: ignore[arg-type]

    def preprocess(self, data: dict[str, Any]) -> Tensor:
        """Collated samples of one size to the teacher's own normalised input ``(B, 3, h, w)``."""
        preprocessor = self.model.data_preprocessor
        return preprocessor(data, False)["inputs"]  # type: ignore[operator]

    @torch.no_grad()
    def forward_normalized(self, inputs: Tensor) -> Tapped:
        """Features and logits of inputs that are normalised for the teacher."""

        def run() -> Tapped:
            return self.tap.read(partial(self._run, inputs), *OWNER)

        return run() if self._features is None else self._features.read(run, self.task)

    def _run(self, inputs: Tensor) -> Any:
        dtype = DTYPES[self.dtype]
        with torch.autocast(
            inputs.device.type,
            dtype=torch.bfloat16 if self.dtype == "fp32" else dtype,
            enabled=self.dtype != "fp32",
        ):
            return self.model(inputs, mode="tensor")

    def own_state(self) -> dict[str, Any]:
        """State of the network that a resumed run needs, if it learns."""
        return {}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`own_state` gave.

        Raises:
            ICKDError: if it is of another network.
        """

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`Teacher.state_dict`."""
        return {"teacher": self.own_state(), "banks": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`Teacher.load_state_dict`."""
        self.load_own_state(state["teacher"])
        self.memory.load_state_dict(state["banks"])

    def architecture(self) -> str:
        """Text that tells the network from others, beside its weights."""
        return repr(self.model)

    def about(self) -> dict[str, str]:
        """Names of its files, without folders, for people who look into the cache."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """Text of all that decides the features of a frozen teacher, by name."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        features = f"{self.features}, {self.feature_grid}"
        return {
            **({} if self.features == "auto" else {"teacher_features": features}),
            "teacher_weights": digest.hexdigest(),
            "teacher_config": hashlib.sha256(self.architecture().encode()).hexdigest(),
            "teacher_layer": self.tap.layer,
            "teacher_dtype": self.dtype,
        }
