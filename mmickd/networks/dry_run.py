"""Running networks once before training, on what they will meet in it."""

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

CHECK_WEIGHTS = "Check the weights that it begins with (init_cfg, load_from)."


def training_batch(
    student: nn.Module,
    dataset: Any,
    collate: Callable[[list[Any]], Any],
    size: int,
    check_sample: Callable[[Any, str], None],
) -> Batch:
    """The first samples of a training set, as the student gets them in training.

    The data set is left as it is; global random generators are drawn from.

    Args:
        student: unwrapped; its data preprocessor runs as in training.
        dataset: the live training set.
        collate: of the training loader.
        size: of the batch; fewer samples if there are no more.
        check_sample: refuses a data sample that cannot be read, by the name of its image; see
            :meth:`mmickd.tasks.Task.check_sample`.

    Raises:
        ICKDError: if no batch can be made, or its data samples cannot be read, with the reason.
    """
    samples, names = _first_samples(apart(dataset), size)
    try:
        # A copy: preprocessors may keep what they meet.
        preprocessor = copy.deepcopy(student.data_preprocessor)
        data = preprocessor(collate(samples), True)  # type: ignore[operator]
        inputs, data_samples = _parts(data)
    except Exception as error:  # whatever they raise on samples that they cannot take
        # a label of another shape cannot be padded, for example
        for sample, name in zip(samples, names, strict=True):
            if isinstance(sample, Mapping) and "data_samples" in sample:
                check_sample(sample["data_samples"], name)
        raise ICKDError(
            "the training loader's collate_fn and the student's data_preprocessor cannot make a "
            f"batch of the first {len(samples)} training samples ({_told(error)}). It would fail "
            "in training as well: mend train_dataloader or the data_preprocessor."
        ) from error
    if not isinstance(inputs, torch.Tensor):
        raise ICKDError(
            f"the student's data_preprocessor gives inputs of type {type(inputs).__name__}, where "
            "one tensor (B, C, h, w) is needed. Let it stack the images."
        )
    for data_sample, name in zip(data_samples, names, strict=False):
        check_sample(data_sample, name)
    return Batch(inputs, data_samples)


def _parts(data: Any) -> tuple[Any, Sequence[Any]]:
    """Inputs and data samples of a batch, as data preprocessors of mmengine give them."""
    pair = [data["inputs"], data["data_samples"]] if isinstance(data, Mapping) else data
    return pair[0], list(pair[1])


def _first_samples(dataset: Any, count: int) -> tuple[list[Any], list[str]]:
    """The first samples that are not None (for None, data sets take another at random).

    Returns:
        The samples, and the names of their images.
    """
    samples: list[Any] = []
    names: list[str] = []
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except Exception as error:  # whatever a pipeline raises
            raise ICKDError(
                f"{_name(dataset, index)} of the training set cannot be read ({_told(error)}). "
                "Mend it, or train_dataloader.dataset.pipeline."
            ) from error
        if sample is not None:
            samples.append(sample)
            names.append(_name(dataset, index))
        if len(samples) == count:
            break
    if not samples:
        raise ICKDError(
            "the training data set is empty: check data_root, data_prefix and ann_file of "
            "train_dataloader.dataset."
        )
    return samples, names


def _name(dataset: Any, index: int) -> str:
    """Name of an image for messages: its path, else its place in the data set."""
    if hasattr(dataset, "get_data_info"):
        info = dataset.get_data_info(index)
    else:  # mmpretrain's MultiTaskDataset has the list alone
        info = dict(enumerate(getattr(dataset, "data_list", ()))).get(index)
    path = info.get("img_path") if isinstance(info, Mapping) else None
    return str(path or f"sample {index}")


def apart(dataset: Any) -> Any:
    """A data set of the same annotations whose transforms are copies.

    Transforms may keep images (mosaics) and have random generators of their own.
    """
    twin = copy.copy(dataset)
    if hasattr(dataset, "pipeline"):
        twin.pipeline = _copied(dataset.pipeline)
    if hasattr(dataset, "dataset"):
        twin.dataset = apart(dataset.dataset)
    if hasattr(dataset, "datasets"):
        twin.datasets = [apart(part) for part in dataset.datasets]
    return twin


def _copied(pipeline: Any) -> Any:
    try:
        return copy.deepcopy(pipeline)
    except Exception:  # it holds what cannot be copied (connections, locks)
        return pipeline


@contextmanager
def explained(owner: str, images: str, size: Sequence[int], remedy: str) -> Iterator[None]:
    """Say what is wrong if a network cannot run on images.

    Args:
        owner: whose network it is.
        images: which they are.
        size: shape of them, ``(..., h, w)``.
        remedy: what to do.

    Raises:
        ICKDError: for whatever the network raises inside, but for want of memory.
    """
    try:
        yield
    except ICKDError:
        raise
    except Exception as error:  # whatever a network raises on an input that it cannot take
        if is_out_of_memory(error):  # of smaller batches it can
            raise
        pixels = "x".join(str(n) for n in size[-2:])
        raise ICKDError(
            f"{owner} cannot run on {images} of {pixels} pixels ({_told(error)}). {remedy}"
        ) from error


@contextmanager
def explained_labels(data_samples: Sequence[Any]) -> Iterator[None]:
    """Say whose fault it is if a network ran, but the labels of its images cannot be read.

    Args:
        data_samples: of the images.

    Raises:
        ICKDError: for whatever is raised inside, but for want of memory.
    """
    try:
        yield
    except ICKDError:
        raise
    except Exception as error:  # whatever a task raises on a label that it does not expect
        if is_out_of_memory(error):
            raise
        names = ", ".join(image_name(sample) for sample in data_samples)
        raise ICKDError(
            f"the labels of {names} ({type(data_samples[0]).__name__}) cannot be read "
            f"({_told(error)}). Mend the annotations, or the pipeline that loads and packs them."
        ) from error


def _told(error: Exception) -> str:
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
    """Name and width of a training network's classifier layer, after one pass of it in eval.

    A sharded model (FSDP) cannot run from here: it gets by with the usual names, or an explicit
    one.

    Args:
        model: unwrapped.
        layer: its name; 'auto' finds it.
        usual: see :func:`~mmickd.networks.classifier_layer.find_classifier`.
        batch: of training, as it gets it.
        owner: whose network it is, for messages.
        option: the option that names the layer, for messages.
        remedy: what to do if it cannot run.

    Raises:
        ICKDError: if it cannot run, or the layer is not found, or is not the one, or the network
            gives NaN or Inf.
    """

    def run() -> Any:
        return model(batch.inputs, mode="tensor")

    if not is_sharded(model):
        with explained(owner, "training images", batch.inputs.shape, remedy):
            layer = find_classifier(model, run, usual, owner, option, layer)
            tap = Tap(model, layer)
            with evaluating(model), torch.no_grad():
                tapped = tap.read(run, owner, option)
            tap.close()
            check_finite(tapped, batch.data_samples, owner, CHECK_WEIGHTS)
    elif layer == "auto":
        found = usual_layers(model, usual)
        if not found:
            raise ICKDError(
                "the student is sharded (FSDP), so it cannot run once to find its classifier layer "
                "before training: set the hook's layer to the layer that gives the logits."
            )
        layer = found[0]
    return layer, out_width(require_layer(model, layer))
