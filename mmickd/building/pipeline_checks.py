"""Checks of the bank's pipelines: they must read the images and labels that training reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmickd.building.images import BankImages
from mmickd.building.large_images import explain_large_image, too_large_message
from mmickd.building.parts import Part, parts_of, with_pipeline
from mmickd.building.pipelines import BankPipeline, names_of
from mmickd.sampling import image_id
from mmickd.structures import NO_ID
from mmickd.tasks.base import data_sample_id
from mmickd.utils.digest import digest
from mmickd.utils.errors import ICKDError, is_out_of_memory
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.text import error_text

REREADS = 7
"""Number of further reads of the first image, which must be equal: a random flip passes with
probability 1/128."""


def check_first_sample(images: BankImages, has_label: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the first sample after checking it.

    Raises:
        ICKDError: If it cannot be read, is not packed, has no label, or differs when read again.
    """
    name = images.name(0)
    try:
        with explain_large_image(name):
            first = images[0]
    except ICKDError:
        raise
    except Exception as error:  # a transform may raise anything
        raise ICKDError(
            f"the memory bank's pipeline fails on the training image {name} "
            f"({type(error).__name__}: {error}). Repair the image, or set bank.pipeline to "
            "transforms that load an image, load its label, and pack them."
        ) from error
    if not isinstance(first, dict) or not {"inputs", "data_samples"} <= first.keys():
        raise ICKDError(
            "the memory bank's pipeline does not pack the training images: end bank.pipeline with "
            "PackInputs (mmpretrain) or PackSegInputs (mmseg)."
        )
    if not has_label(first["data_samples"]):
        raise ICKDError(
            f"the memory bank's pipeline gives no label for the training image {name}. Set "
            "bank.pipeline to transforms that load it (for mmseg: LoadAnnotations), for example "
            "train_pipeline without its random transforms."
        )
    repeats = [images[0]["inputs"] for _ in range(REREADS)]
    if not all(torch.equal(first["inputs"], repeat) for repeat in repeats):
        raise ICKDError(
            f"the memory bank's pipeline is random: it returns different versions of the training "
            f"image {name}. Set bank.pipeline to deterministic transforms."
        )
    return first


def check_image_keys(images: BankImages) -> None:
    """Check that packed samples of concatenated data sets have the ids of the bank's images.

    Raises:
        ICKDError: If the first sample of a part has another id.
    """
    firsts = images.first_of_parts()
    for index in firsts if len(firsts) > 1 else []:
        packed_id = data_sample_id(images[index]["data_samples"])
        if packed_id not in (NO_ID, image_id(images.key(index))):
            raise ICKDError(
                f"{images.name(index)} of the training set is packed with another path or number, "
                "which may be that of an image of another part. Add 'img_path' to meta_keys of the "
                "last transform, or keep the sample_idx of get_data_info."
            )


def check_pipelines(dataset: Any, pipelines: Sequence[BankPipeline]) -> None:
    """Read a few images of each part as in training and as for the bank, and compare them.

    Images are compared before geometric transforms, labels after them. A pipeline from the option
    ``bank.pipeline`` is not checked.

    Args:
        dataset: Training set with its wrappers.
        pipelines: Pipeline of the bank for each part.

    Raises:
        ICKDError: If images or labels differ, or only the bank's pipeline fails.
    """
    with preserved_random_state():
        for part, pipeline in zip(parts_of(dataset), pipelines, strict=True):
            if pipeline.loading is not None:
                _check_part(part, pipeline)


def _check_part(part: Part, pipeline: BankPipeline) -> None:
    trained = part.with_pipeline(pipeline.loading)
    unresized = with_pipeline(part.dataset, pipeline.unresized)
    banked = with_pipeline(part.dataset, pipeline.transforms)
    for place in part.places():
        name = _name(part, place)
        try:
            training_values, unresized_values, bank_values = (
                _packed_values(data[place]) for data in (trained, unresized, banked)
            )
        except Exception as error:  # a transform may raise anything
            if is_out_of_memory(error):
                raise ICKDError(too_large_message(name, None, error)) from error
            if not _is_read_in_training(part, place):
                continue
            raise ICKDError(
                f"the memory bank's pipeline, {pipeline}, fails on the training image {name} "
                f"({error_text(error)}). Repair the image, or set bank.pipeline to transforms that "
                "load an image, load its label, and pack them."
            ) from error
        if not bank_values:
            raise ICKDError(
                f"the memory bank's pipeline, {pipeline}, packs no image of {name}; training's "
                "random transforms are left out of it. Set bank.pipeline to transforms that load "
                "an image, load its label, and pack them."
            )
        differing = _differing(training_values, unresized_values) or _differing(
            _scalars(training_values), _scalars(bank_values)
        )
        if differing:
            raise ICKDError(
                f"the memory bank reads {name} differently from training: {', '.join(differing)} "
                f"differ. Training loads it by {names_of(pipeline.loading)}; the bank reads it by "
                f"{pipeline}. Set bank.pipeline to transforms that load an image and its label as "
                "in training, and pack them."
            )


def _is_read_in_training(part: Part, place: int) -> bool:
    try:
        return part.with_pipeline(part.pipeline)[place] is not None
    except Exception:  # training raises its own error
        return False


def _packed_values(sample: Any) -> dict[str, Any]:
    """Return image and labels of a packed sample by name; empty if the sample is not packed."""
    if not isinstance(sample, dict) or not {"inputs", "data_samples"} <= sample.keys():
        return {}
    data = sample["data_samples"]
    labels = dict(data.items()) if hasattr(data, "items") else {}
    labels = {name: getattr(value, "data", value) for name, value in labels.items()}
    return {"inputs": sample["inputs"], **labels}


def _scalars(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that geometric transforms do not change."""
    return {name: value for name, value in values.items() if getattr(value, "ndim", 0) < 2}


def _differing(training_values: dict[str, Any], bank_values: dict[str, Any]) -> list[str]:
    """Return the names of values that differ; a missing label differs, too."""
    return [
        name
        for name, value in training_values.items()
        if (name in bank_values or name.startswith("gt_"))
        and digest(value) != digest(bank_values.get(name))
    ]


def _name(part: Part, place: int) -> str:
    get = getattr(part.dataset, "get_data_info", None)
    return str(({} if get is None else get(place)).get("img_path") or f"sample {place}")
