"""A comparison of the images and labels that training loads with those that the bank reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmickd.building.images import BankImages
from mmickd.building.large_images import why_too_large
from mmickd.building.parts import Part, parts_of, with_pipeline
from mmickd.building.pipelines import BankPipeline, names_of
from mmickd.sampling import image_id
from mmickd.structures import NO_ID
from mmickd.tasks.base import data_sample_id
from mmickd.utils.digest import digest
from mmickd.utils.errors import ICKDError, is_out_of_memory
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.text import error_text


def check_pipelines(dataset: Any, pipelines: Sequence[BankPipeline]) -> None:
    """Read a few images of each part both ways, and compare pictures and labels.

    Geometry is left out of both. A pipeline of ``bank.pipeline`` is taken as it is.

    Args:
        dataset: the live training set, wrappers included.
        pipelines: of the bank, one for each part.

    Raises:
        ICKDError: if they differ, or the bank's pipeline fails where training's does not.
    """
    with preserved_random_state():
        for part, pipeline in zip(parts_of(dataset), pipelines, strict=True):
            if pipeline.loading is not None:
                _check_part(part, pipeline)


def check_image_keys(images: BankImages) -> None:
    """Samples of each part of joined data sets must carry what tells their images apart.

    Raises:
        ICKDError: if those of a part carry something else.
    """
    firsts = images.first_of_parts()
    for index in firsts if len(firsts) > 1 else []:
        packed_id = data_sample_id(images[index]["data_samples"])
        if packed_id not in (NO_ID, image_id(images.key(index))):
            raise ICKDError(
                f"{images.name(index)} of the training set is packed under another name or number, "
                "by which images of different parts cannot be told apart. Add 'img_path' to "
                "meta_keys of the last transform, or leave sample_idx as get_data_info gives it."
            )


def _check_part(part: Part, pipeline: BankPipeline) -> None:
    trained = part.reads_by(pipeline.loading)
    unresized = with_pipeline(part.dataset, pipeline.unresized)
    banked = with_pipeline(part.dataset, pipeline.transforms)
    for place in part.places():
        try:
            in_training, unresized_fields, in_bank = (
                _fields(data[place]) for data in (trained, unresized, banked)
            )
        except Exception as error:  # whatever a transform raises
            if is_out_of_memory(error):
                raise ICKDError(why_too_large(_name(part, place), None, error)) from error
            if not _is_read_in_training(part, place):
                continue
            raise ICKDError(
                f"the pipeline that reads the training images for the memory bank, {pipeline}, "
                f"fails on {_name(part, place)} ({error_text(error)}). Mend the image, or set "
                "bank.pipeline to transforms that load it, load its label, and pack them."
            ) from error
        if not in_bank:
            raise ICKDError(
                f"the pipeline that reads the training images for the memory bank, {pipeline}, "
                f"packs no image of {_name(part, place)}. Random transforms of training are left "
                "out of it: set bank.pipeline to transforms that load an image, its label, and "
                "pack them."
            )
        differing = _differing(in_training, unresized_fields) or _differing(
            _scalars(in_training), _scalars(in_bank)
        )
        if differing:
            raise ICKDError(
                f"the memory bank reads {_name(part, place)} otherwise than training does: "
                f"{', '.join(differing)} differ. Training loads it by "
                f"{names_of(pipeline.loading)}; the bank reads it by {pipeline}. Set bank.pipeline "
                "to transforms that load an image and its label as in training, and pack them."
            )


def _is_read_in_training(part: Part, place: int) -> bool:
    try:
        return part.reads_by(part.pipeline)[place] is not None
    except Exception:  # training has its own messages
        return False


def _fields(sample: Any) -> dict[str, Any]:
    """The picture and all labels of a packed sample; empty if it is not packed."""
    if not isinstance(sample, dict) or not {"inputs", "data_samples"} <= sample.keys():
        return {}
    data = sample["data_samples"]
    labels = dict(data.items()) if hasattr(data, "items") else {}
    labels = {name: getattr(value, "data", value) for name, value in labels.items()}
    return {"inputs": sample["inputs"], **labels}


def _scalars(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that geometry does not change."""
    return {name: value for name, value in fields.items() if getattr(value, "ndim", 0) < 2}


def _differing(in_training: dict[str, Any], in_bank: dict[str, Any]) -> list[str]:
    """Return the names of fields that differ. A field that only training has counts if a label."""
    return [
        name
        for name, value in in_training.items()
        if (name in in_bank or name.startswith("gt_"))
        and digest(value) != digest(in_bank.get(name))
    ]


def _name(part: Part, place: int) -> str:
    get = getattr(part.dataset, "get_data_info", None)
    return str(({} if get is None else get(place)).get("img_path") or f"sample {place}")
