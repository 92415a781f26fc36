"""Classification of transforms: random, geometric, or loading images and labels."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmickd.utils.digest import digest
from mmickd.utils.random_state import draws_random_numbers, preserved_random_state

Transform = Callable[[Any], Any]

GEOMETRY = {
    *("resize", "resizeedge", "resizetomultiple", "resizeshortestedge", "segrescale"),
    *("centercrop", "efficientnetcentercrop", "pad", "biomedical3dpad"),
}
"""Lower-case names of transforms that change the size of images (or of some images)."""
REPEATS = 4
"""Number of runs of a random transform; labels that differ between the runs are random."""
LABEL_MAPS = ("gt_seg_map", "gt_semantic_seg")


@dataclass
class PipelineStep:
    """Transform of a pipeline, with its properties.

    Args:
        transform: The transform.
        is_random: True if the result depends on random numbers.
        is_geometry: True if the transform changes the size of an image that is already loaded.
        packs: True if the transform returns ``inputs`` and ``data_samples``.
        has_image: True if an image is loaded before this transform.
        maps_labels: True if the transform changes the labels of an image.
        draws_labels: True if the changed labels are random.
    """

    transform: Transform
    is_random: bool = False
    is_geometry: bool = False
    packs: bool = False
    has_image: bool = False
    maps_labels: bool = False
    draws_labels: bool = False

    @property
    def loads(self) -> bool:
        """True if the transform is neither random nor geometric."""
        return not (self.is_random or self.is_geometry)

    @property
    def hides_labels(self) -> bool:
        """True if the transform maps labels deterministically, but is also random or geometric."""
        return self.maps_labels and not (self.draws_labels or self.loads)


@dataclass
class Trace:
    """Transforms of a pipeline in order.

    Args:
        steps: Steps of all transforms, also inside ``Compose``.
        loaded: Each traced image after the loading transforms, before it is packed.
    """

    steps: list[PipelineStep]
    loaded: list[Any] = field(default_factory=list)

    def transforms(self, keeps: Callable[[PipelineStep], bool]) -> list[Transform]:
        """Return the transforms of steps for which ``keeps`` is true."""
        return [step.transform for step in self.steps if keeps(step)]

    @property
    def loading(self) -> list[Transform]:
        """The transforms that are neither random nor geometric."""
        return self.transforms(lambda step: step.loads)


def trace(pipeline: Any, samples: Iterable[Any], loaded: Sequence[Any] = ()) -> Trace:
    """Run a pipeline on a few images, transform by transform, to classify its transforms.

    The run's random state is not used. If a transform fails, the rest is not run on its image.

    Args:
        pipeline: A Compose, a callable, or a list of callables; its transforms are copied.
        samples: Input of the pipeline for each image.
        loaded: For each image, the input of the next transform after a transform that failed.

    Example:
        >>> def load(results):
        ...     return dict(results, img=np.full((4, 6, 3), 7))
        >>> def crop(results):
        ...     return dict(results, img=results["img"][:2])
        >>> [step.is_geometry for step in trace([load, crop], [{}]).steps]
        [False, True]
    """
    traced = Trace([_static(transform) for transform in flatten(pipeline)])
    copies = [try_deepcopy(step.transform) for step in traced.steps]
    with preserved_random_state():
        for number, sample in enumerate(samples):
            instead = loaded[number] if number < len(loaded) else None
            traced.loaded.append(_trace_image(traced.steps, copies, sample, instead))
    return traced


def _trace_image(
    steps: Sequence[PipelineStep], copies: Sequence[Transform], sample: Any, instead: Any
) -> Any:
    """Set the properties of ``steps`` by one image; return the image after the loading steps."""
    results, loaded = sample, try_deepcopy(sample)
    for step, transform in zip(steps, copies, strict=True):
        before = try_deepcopy(results)
        sizes, labels = _sizes(before), _labels(before)
        step.has_image |= bool(sizes)
        outputs: list[Any] = []

        def run(
            transform: Transform = transform, before: Any = before, outputs: list[Any] = outputs
        ) -> None:
            outputs.append(transform(try_deepcopy(before)))

        states = digest(generator_states(transform))
        try:
            step.is_random |= (
                draws_random_numbers(run) or digest(generator_states(transform)) != states
            )
            for _ in range(REPEATS if step.is_random else 1):
                run()
        except Exception:  # a transform may raise anything for an image of another form
            if step.is_random:  # a transform that mixes images fails for a single image
                continue
            if instead is None:
                return loaded
            results = try_deepcopy(instead)
            continue
        results = outputs[0]
        step.is_random |= digest(results) != digest(outputs[1])
        step.is_geometry |= any(
            size != sizes[key] for key, size in _sizes(results).items() if key in sizes
        )
        step.packs |= isinstance(results, Mapping) and {"inputs", "data_samples"} <= results.keys()
        changes = [_change_of_labels(labels, _labels(output)) for output in outputs]
        step.draws_labels |= any(change != changes[0] for change in changes)
        step.maps_labels |= bool(changes[0])
        if step.loads and not step.packs:
            try:
                loaded = transform(loaded)
            except Exception:  # it needs the output of a random transform
                continue
    return loaded


def flatten(pipeline: Any) -> list[Transform]:
    """Return the transforms of a pipeline, also of nested pipelines that are always applied.

    Example:
        >>> from mmengine.dataset import Compose
        >>> flatten(Compose([abs, Compose([len])])), flatten(abs)
        ([<built-in function abs>, <built-in function len>], [<built-in function abs>])
    """
    inner = _always_applied(pipeline)
    if inner is None:
        return [pipeline]
    return [transform for part in inner for transform in flatten(part)]


def _always_applied(pipeline: Any) -> Sequence[Any] | None:
    """Return the inner transforms of a transform that only applies them; None for any other one."""
    if isinstance(pipeline, (list, tuple)):
        return pipeline
    inner, names = getattr(pipeline, "transforms", None), _class_names(pipeline)
    if inner is None:
        return None
    inner = inner if isinstance(inner, (list, tuple)) else [inner]
    if "randomapply" in names:
        return inner if getattr(pipeline, "prob", None) == 1 else None
    return inner if "compose" in names or ("randomchoice" in names and len(inner) == 1) else None


def name_of(transform: Any) -> str:
    """Return the name of a transform for messages.

    Example:
        >>> name_of(abs), name_of(PipelineStep(abs))
        ('abs', 'PipelineStep')
    """
    return str(getattr(transform, "__name__", type(transform).__name__))


def signature(transform: Any) -> str:
    """Return a digest of a transform without its ``meta_keys``, which change no image or label."""
    attributes = getattr(transform, "__dict__", None)
    if not attributes or isinstance(transform, type) or hasattr(transform, "__name__"):
        return digest(transform)
    kept = {name: value for name, value in attributes.items() if name != "meta_keys"}
    return digest([type(transform), kept])


def try_deepcopy(value: Any) -> Any:
    """Return a deep copy, or the value itself if it cannot be copied (connections, locks)."""
    try:
        return copy.deepcopy(value)
    except Exception:  # its parts may raise anything
        return value


def generator_states(value: Any, depth: int = 4) -> list[Any]:
    """Return the states of the random generators in an object.

    Args:
        value: Any object; its lists, dicts and attributes are searched.
        depth: Number of nested levels to search.

    Example:
        >>> generator = random.Random(0)
        >>> generator_states([dict(a=generator)]) == [generator.getstate()]
        True
    """
    if isinstance(value, random.Random):
        return [value.getstate()]
    if isinstance(value, np.random.Generator):
        return [value.bit_generator.state]
    if isinstance(value, (np.random.RandomState, torch.Generator)):
        return [value.get_state()]
    if isinstance(value, (type, torch.Tensor, np.ndarray)) or not depth:
        return []
    inner = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    items = value if isinstance(value, (list, tuple)) else list(inner.values())
    return [state for item in items for state in generator_states(item, depth - 1)]


def _static(transform: Transform) -> PipelineStep:
    """Return a step with the properties that follow from the class of a transform."""
    names = _class_names(transform)
    mixes = hasattr(transform, "get_indices")  # for MultiImageMixDataset
    is_random = (
        mixes
        or hasattr(transform, "_methods_with_randomness")  # mmcv's marker
        or any(name.startswith("random") for name in names)
    )
    return PipelineStep(transform, is_random, is_geometry=bool(GEOMETRY & names))


def _class_names(transform: Any) -> set[str]:
    """Return the lower-case class names of a transform and of its inner torchvision transform."""
    kinds = [*type(transform).__mro__, *type(getattr(transform, "t", None)).__mro__]
    return {kind.__name__.lower() for kind in kinds} | {name_of(transform).lower()}


def _sizes(results: Any) -> dict[str, list[int]]:
    """Return the two sides of each image by its key, the smaller side first."""
    if not isinstance(results, Mapping):
        return {}
    sizes = {key: _size(value) for key, value in results.items()}
    return {key: sorted(size) for key, size in sizes.items() if size is not None}


def _size(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, Image.Image):
        return value.size
    if isinstance(value, torch.Tensor) and value.ndim >= 2:
        return tuple(value.shape[-2:])
    if not isinstance(value, np.ndarray) or value.ndim < 2:
        return None
    channels_first = value.ndim == 3 and value.shape[0] <= 4 < value.shape[2]
    return tuple(value.shape[1:] if channels_first else value.shape[:2])


def _labels(results: Any) -> dict[str, list[Any]]:
    """Return the label of an image and the classes in its label maps, by key."""
    if not isinstance(results, Mapping):
        return {}
    labels = {key: np.unique(results[key]).tolist() for key in LABEL_MAPS if key in results}
    if results.get("gt_label") is not None:
        labels["gt_label"] = np.ravel(results["gt_label"]).tolist()
    return labels


def _change_of_labels(before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]) -> list[Any]:
    """Return the changed label of an image, and the keys of label maps with new classes.

    A single new class is ignored, as it may be the value of a padded border.
    """
    changes = [
        values if key == "gt_label" else key
        for key, values in after.items()
        if key in before
        and (
            values != before[key] if key == "gt_label" else len(set(values) - set(before[key])) > 1
        )
    ]
    return changes
