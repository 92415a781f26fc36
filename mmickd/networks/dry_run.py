"""Dry run: one forward pass of each network before training, on the first training batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mmickd.networks.classifier_layer import find_classifier, usual_layers
from mmickd.networks.nan_guard import check_finite, image_name
from mmickd.networks.taps import Tap, evaluating, out_width, require_layer
from mmickd.structures import Batch
from mmickd.utils.errors import ICKDError, is_out_of_memory
from mmickd.utils.modules import is_sharded

CHECK_WEIGHTS = "Check its initial weights (init_cfg, load_from)."


def training_batch(
    student: nn.Module,
    dataset: Any,
    collate: Callable[[list[Any]], Any],
    size: int,
    check_sample: Callable[[Any, str], None],
) -> Batch:
    """Return the first samples of a training set as the student gets them in training.

    The data set stays unchanged; global random generators are used.

    Args:
        student: Unwrapped student; its data preprocessor runs as in training.
        dataset: Training set of the run.
        collate: ``collate_fn`` of the training loader.
        size: Size of the batch; fewer samples if the data set has no more.
        check_sample: Function of a data sample and the name of its image that raises an error for
            an invalid sample, see :meth:`mmickd.tasks.Task.check_sample`.

    Raises:
        ICKDError: If no batch can be made, or its data samples cannot be read, with the reason.
    """
    samples, names = _first_samples(_with_copied_transforms(dataset), size)
    try:
        # A copy, as preprocessors may store what passes through them.
        preprocessor = copy.deepcopy(student.data_preprocessor)
        data = preprocessor(collate(samples), True)  # type: ignore[operator]
        if isinstance(data, Mapping):
            data = data["inputs"], data["data_samples"]
        inputs, data_samples = data[0], list(data[1])
    except Exception as error:  # any error that they raise for unsuitable samples
        # The reason may be a label, for example one whose shape cannot be padded.
        for sample, name in zip(samples, names, strict=True):
            if isinstance(sample, Mapping) and "data_samples" in sample:
                check_sample(sample["data_samples"], name)
        raise ICKDError(
            "the training loader's collate_fn and the student's data_preprocessor cannot make a "
            f"batch of the first {len(samples)} training samples ({_reason(error)}). Training "
            "would fail as well: correct train_dataloader or data_preprocessor."
        ) from error
    if not isinstance(inputs, torch.Tensor):
        raise ICKDError(
            f"the student's data_preprocessor returns inputs of type {type(inputs).__name__}, "
            "not one tensor (B, C, h, w). Use a data_preprocessor that stacks the images."
        )
    for data_sample, name in zip(data_samples, names, strict=False):
        check_sample(data_sample, name)
    return Batch(inputs, data_samples)


def _first_samples(dataset: Any, count: int) -> tuple[list[Any], list[str]]:
    """Return the first samples that are not None, and the names of their images.

    In training, a data set replaces None by another sample, drawn at random.
    """
    samples: list[Any] = []
    names: list[str] = []
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except Exception as error:  # any error of a transform
            raise ICKDError(
                f"{_image_name_at(dataset, index)} of the training set cannot be read "
                f"({_reason(error)}). Correct it, or train_dataloader.dataset.pipeline."
            ) from error
        if sample is not None:
            samples.append(sample)
            names.append(_image_name_at(dataset, index))
        if len(samples) == count:
            break
    if not samples:
        raise ICKDError(
            "the training data set is empty: check data_root, data_prefix and ann_file of "
            "train_dataloader.dataset."
        )
    return samples, names


def _image_name_at(dataset: Any, index: int) -> str:
    """Return the name of an image for messages: its path, else its index in the data set."""
    if hasattr(dataset, "get_data_info"):
        info = dataset.get_data_info(index)
    else:  # mmpretrain's MultiTaskDataset has only the list
        info = dict(enumerate(getattr(dataset, "data_list", ()))).get(index)
    path = info.get("img_path") if isinstance(info, Mapping) else None
    return str(path or f"sample {index}")


def _with_copied_transforms(dataset: Any) -> Any:
    """Return a data set with the same annotations and copied transforms.

    Transforms may store images (mosaics) and have random generators.
    """
    twin = copy.copy(dataset)
    if hasattr(dataset, "pipeline"):
        try:
            twin.pipeline = copy.deepcopy(dataset.pipeline)
        except Exception:  # connections and locks cannot be copied
            twin.pipeline = dataset.pipeline
    if hasattr(dataset, "dataset"):
        twin.dataset = _with_copied_transforms(dataset.dataset)
    if hasattr(dataset, "datasets"):
        twin.datasets = [_with_copied_transforms(part) for part in dataset.datasets]
    return twin


@contextmanager
def explain_failed_pass(
    owner: str, images: str, size: Sequence[int], remedy: str
) -> Iterator[None]:
    """Raise an ICKDError for any error of a network's forward pass; out-of-memory errors pass.

    Args:
        owner: Name of the network.
        images: Description of the images.
        size: Shape of the images, ``(..., h, w)``.
        remedy: Advice at the end of the message.
    """
    try:
        yield
    except Exception as error:  # any error of a network on an unsuitable input
        if _must_pass(error):
            raise
        pixels = "x".join(str(n) for n in size[-2:])
        raise ICKDError(
            f"{owner} cannot run on {images} of {pixels} pixels ({_reason(error)}). {remedy}"
        ) from error


@contextmanager
def explain_unreadable_labels(data_samples: Sequence[Any]) -> Iterator[None]:
    """Raise an ICKDError that names the images if their labels cannot be read.

    Out-of-memory errors pass.

    Args:
        data_samples: Data samples of the images.
    """
    try:
        yield
    except Exception as error:  # any error of a task on an unexpected label
        if _must_pass(error):
            raise
        names = ", ".join(image_name(sample) for sample in data_samples)
        raise ICKDError(
            f"the labels of {names} ({type(data_samples[0]).__name__}) cannot be read "
            f"({_reason(error)}). Correct the annotations, or the pipeline that loads and packs "
            "them."
        ) from error


def _must_pass(error: Exception) -> bool:
    """True for an ICKDError, which is explained already, and for an out-of-memory error."""
    return isinstance(error, ICKDError) or is_out_of_memory(error)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def dry_run(
    model: nn.Module,
    layer: str,
    usual: Sequence[str],
    batch: Batch,
    owner: str = "the student",
    option: str = "layer",
    remedy: str = "Let the training pipeline make images that its model can take.",
) -> tuple[str, int]:
    """Return name and width of a training network's classifier layer, after one pass in eval mode.

    A sharded model (FSDP) cannot run outside its wrapper: its layer must have a usual name, or be
    named by the option.

    Args:
        model: Unwrapped model.
        layer: Name of its classifier layer; 'auto' searches for it.
        usual: Usual names of the layer, see
            :func:`~mmickd.networks.classifier_layer.find_classifier`.
        batch: Training batch, normalised for the model.
        owner: Name of the network, for messages.
        option: Option that names the layer, for messages.
        remedy: Advice in the message if the network cannot run.

    Raises:
        ICKDError: If the network cannot run or outputs NaN or Inf, or its classifier layer is not
            found.
    """

    def run() -> Any:
        return model(batch.inputs, mode="tensor")

    if not is_sharded(model):
        with explain_failed_pass(owner, "training images", batch.inputs.shape, remedy):
            layer = find_classifier(model, run, usual, owner, option, layer)
            tap = Tap(model, layer)
            with evaluating(model), torch.no_grad():
                tapped = tap.read(run, owner, option)
            tap.close()
            check_finite(tapped, batch.data_samples, owner, CHECK_WEIGHTS)
    elif layer == "auto":
        usual = usual_layers(model, usual)
        if not usual:
            raise ICKDError(
                "the student is sharded (FSDP), so it cannot run once to find its classifier layer "
                "before training: set the hook's layer to the layer that outputs the logits."
            )
        layer = usual[0]
    return layer, out_width(require_layer(model, layer))
