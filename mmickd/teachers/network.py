"""Base class of teachers with one network, which gets no gradients."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.networks.classifier_layer import find_classifier
from mmickd.networks.dry_run import explain_failed_pass, explain_unreadable_labels
from mmickd.networks.nan_guard import check_finite, image_name
from mmickd.networks.taps import Tap
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Tapped, View
from mmickd.tasks import Task, kind_of_task, task_for
from mmickd.teachers.base import MemoryFactory, Source, Teacher
from mmickd.teachers.models import check_task
from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.teachers.run_context import RunContext
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import check_choice, check_integer

OWNER = "the teacher", "teacher.layer"
"""Name of the network and option of its layer, for messages."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class NetworkTeacher(Teacher):
    """Base class of teachers with one network, which runs in eval mode without gradients.

    Its forward pass ends at the classifier (``mode='tensor'``: no auxiliary head, no resize, no
    loss). A subclass makes the network (:meth:`make_network`). For a network that learns, it also
    sets ``is_frozen = False`` and implements :meth:`after_step`, :meth:`own_state` and
    :meth:`load_own_state`.

    Args:
        layer: Name of the classifier layer; 'auto' searches for it.
        dtype: Precision of the forward pass (autocast): 'fp32', 'fp16' or 'bf16'. It is the same
            for the bank and in training, independent of the student's autocast.
        features: Name of the layer whose output is used for retrieval; 'auto': the input of the
            classifier layer. Earlier layers depend less on the training labels, which helps if
            there are label errors.
        feature_grid: Side of the grid to which the feature maps of such a layer are averaged
            (classifiers only).

    Attributes:
        model (nn.Module): The network; available after :meth:`build`.
        task (Task): Task adapter of student and teacher; available after :meth:`build`.
        tap (Tap): Tap of the classifier layer; available after :meth:`dry_run`.
        width (int): Width ``D`` of the features; available after :meth:`dry_run`.
        memory (Memory): Memory of the network; available after :meth:`open`.

    Raises:
        ICKDError: If an option is out of range.

    Example:
        >>> class StudentAsTeacher(NetworkTeacher):  # see also docs/examples/frozen_teacher.py
        ...     def make_network(self, run):
        ...         return run.student
        >>> StudentAsTeacher(dtype="bf16").is_frozen
        True
    """

    is_frozen = True
    model: nn.Module
    task: Task
    tap: Tap
    memory: Memory
    _converter: InputConverter

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
        self._feature_tap: Tap | None = None
        self._cells: int | None = None
        self.width = 0

    @abstractmethod
    def make_network(self, run: RunContext) -> nn.Module:
        """Return the network with its weights, a model that mmengine's runners can train.

        Raises:
            ICKDError: If the network cannot be built.
        """

    def build(self, run: RunContext) -> None:
        """See :meth:`Teacher.build`."""
        model = self.make_network(run)
        check_task(model, "the teacher")
        self.adopt(model, run.student, run.device)

    def adopt(self, model: nn.Module, student: nn.Module, device: torch.device) -> None:
        """Use ``model`` as the network, frozen and in eval mode.

        Args:
            model: Model with its data preprocessor.
            student: Unwrapped student; its data preprocessor normalises the training batches.
            device: Device of the network.
        """
        model.requires_grad_(False)
        # Not model.eval().to(device): mmpretrain's ResNet returns None from train() and eval().
        model.eval()
        model.to(device)
        self.model, self.task = model, task_for(student, model)
        source = student if hasattr(student, "data_preprocessor") else model
        self._converter = InputConverter.between(source, model).to(device)

    def dry_run(self, batch: Batch, student_layer: str) -> None:
        """See :meth:`Teacher.dry_run`."""
        remedy = "Use a teacher for images of this size, or train on images of the teacher's size."
        with explain_failed_pass("the teacher", "training images", batch.inputs.shape, remedy):
            usual = kind_of_task(self.model).classifier_names(self.model)
            inputs = self.converted(batch.inputs)
            run = partial(self._run, inputs)
            self.attach(find_classifier(self.model, run, usual, *OWNER, self.layer))
            tapped = self.forward_normalized(inputs)
        check_finite(tapped, batch.data_samples, "the teacher")
        with explain_unreadable_labels(batch.data_samples):
            self.task.view(tapped, batch)
        self.width = tapped.features.shape[1]

    def attach(self, layer: str) -> None:
        """Tap the classifier layer of this name."""
        self.tap = Tap(self.model, layer)
        if self.features != "auto":
            self._feature_tap, self._cells = Tap(self.model, self.features), None

    def view_of_bank_images(
        self, samples: Sequence[dict[str, Any]], student: Tapped | None = None
    ) -> View:
        """Run on images of the bank; available after :meth:`dry_run`.

        Args:
            samples: Packed samples (``inputs`` and ``data_samples``) of one image size; the data
                preprocessor may change them.
            student: Features and logits of the student for the same images, if any.

        Returns:
            Features, logits and labels at each location.

        Raises:
            ICKDError: If the network cannot run on the images, or outputs NaN or Inf.
        """
        data = {name: [sample[name] for sample in samples] for name in ("inputs", "data_samples")}
        data_samples = data["data_samples"]
        images = f"an image that the memory bank reads, {image_name(data_samples[0])},"
        size, remedy = data["inputs"][0].shape, "Check data_preprocessor in teacher.cfg."
        with explain_failed_pass("the teacher's data_preprocessor", images, size, remedy):
            inputs = self.preprocess(data)
        remedy = "Set bank.pipeline to transforms that make images of its size and channels."
        with explain_failed_pass("the teacher", images, size, remedy):
            tapped = self.forward_normalized(inputs)
        check_finite(tapped, data_samples, "the teacher")
        with explain_unreadable_labels(data_samples):
            return self.task.view(tapped, Batch(inputs, data_samples), student)

    @property
    def frozen_network(self) -> NetworkTeacher | None:
        """See :meth:`Teacher.frozen_network`."""
        return self if self.is_frozen else None

    @property
    def class_counts(self) -> Mapping[str, int]:
        """See :meth:`Teacher.class_counts`."""
        return {"the teacher": self.tap.num_classes}

    def open(self, make_memory: MemoryFactory, momentum: float | None) -> None:
        """See :meth:`Teacher.open`."""
        self.memory = make_memory(self.width)

    @property
    def layers(self) -> str:
        """See :meth:`Teacher.layers`."""
        features = "" if self.features == "auto" else f" (retrieval by layer {self.features})"
        return f"{self.tap.layer}{features}"

    @property
    def memories(self) -> Mapping[str, Memory]:
        """See :meth:`Teacher.memories`."""
        return {"teacher": self.memory}

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See :meth:`Teacher.forward`."""
        return [Source(self.task, self.memory, cache(lambda: self(batch.inputs)))]

    def __call__(self, inputs: Tensor) -> Tapped:
        """Return features and logits of a training batch.

        Args:
            inputs: Augmented images ``(B, 3, h, w)``, normalised for the student.
        """
        return self.forward_normalized(self.converted(inputs))

    def converted(self, inputs: Tensor) -> Tensor:
        """Convert inputs from the student's normalisation to the teacher's."""
        return self._converter(inputs.float())

    @property
    def swaps_channels(self) -> bool:
        """True if the data preprocessor reverses the order of an image's channels."""
        return InputNormalization.read(self.model.data_preprocessor).swaps_channels  # type: ignore[arg-type]

    def preprocess(self, data: dict[str, Any]) -> Tensor:
        """Return samples of one size as ``(B, 3, h, w)`` inputs, normalised for the teacher."""
        preprocessor = self.model.data_preprocessor
        return preprocessor(data, False)["inputs"]  # type: ignore[operator]

    @torch.no_grad()
    def forward_normalized(self, inputs: Tensor) -> Tapped:
        """Return features and logits of inputs that are normalised for the teacher."""
        if self._feature_tap is None:
            return self.tap.read(partial(self._run, inputs), *OWNER)
        self._feature_tap.arm()
        try:
            logits = self.tap.read(partial(self._run, inputs), *OWNER).logits
        finally:
            recorded = self._feature_tap.take()
        return Tapped(self._features_of(recorded, logits), logits)

    def _features_of(self, recorded: Tapped | None, logits: Tensor) -> Tensor:
        """Return the output of the feature layer at the locations of the logits."""
        if recorded is None or not isinstance(recorded.logits, Tensor):
            raise ICKDError(
                f"teacher.features: the teacher's layer '{self.features}' outputs no tensor in its "
                "forward pass. Name another layer, such as a stage of the backbone "
                "('backbone.layer3')."
            )
        output = recorded.logits.float()  # "logits" is the output of any tapped layer
        if self._cells is None:
            # Maps of one pixel are averaged already. The first batch sets the grid of all later
            # ones, so that bank and queries have the same width.
            has_one_pixel = output.ndim == 4 and output.shape[-2:].numel() == 1
            self._cells = 1 if has_one_pixel else self.feature_grid
        return self.task.features_of(output, logits, self._cells)

    def _run(self, inputs: Tensor) -> Any:
        is_half = self.dtype != "fp32"
        dtype = DTYPES[self.dtype] if is_half else torch.bfloat16  # without effect, but must be set
        with torch.autocast(inputs.device.type, dtype=dtype, enabled=is_half):
            return self.model(inputs, mode="tensor")

    def own_state(self) -> dict[str, Any]:
        """Return the state of a network that learns, without its memory."""
        return {}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`own_state`.

        Raises:
            ICKDError: If the state belongs to another network.
        """

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`Teacher.state_dict`."""
        return {"teacher": self.own_state(), "banks": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`Teacher.load_state_dict`."""
        self.load_own_state(state["teacher"])
        self.memory.load_state_dict(state["banks"])

    def architecture(self) -> str:
        """Return a text that identifies the architecture."""
        return repr(self.model)

    def file_names(self) -> dict[str, str]:
        """Return the names of the teacher's files, without folders, for lists of cached banks."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """Return all settings that determine the features of a frozen teacher, as text by name."""
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
