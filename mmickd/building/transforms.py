"""Sorting the transforms of a pipeline: random ones, geometry, and what loads images and labels."""

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
"""Lower-case names of classes that change the size of an image, though perhaps not of the first."""
REPEATS = 4
"""Further runs of a random transform, which tell drawn labels from those that are mapped."""
LABEL_MAPS = ("gt_seg_map", "gt_semantic_seg")


@dataclass
class Step:
    """A transform, and what is known of it.

    Args:
        transform: as the pipeline has it.
        is_random: True if its result depends on random numbers.
        is_geometry: True if it changes the size of an image that is loaded already.
        packs: True if it gives ``inputs`` and ``data_samples``.
        has_image: True if an image is loaded before it.
        maps_labels: True if it gives an image other labels.
        draws_labels: True if these differ from time to time.
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
        """True for what is neither random nor geometry."""
        return not (self.is_random or self.is_geometry)

    @property
    def hides_labels(self) -> bool:
        """True for what maps labels each time alike, and is random or geometry besides."""
        return self.maps_labels and not (self.draws_labels or self.loads)


@dataclass
class Trace:
    """The transforms of a pipeline in order.

    Args:
        steps: one for each transform, those inside of ``Compose`` too.
        loaded: of each image that was looked at, what the loading transforms make of it before it
            is packed.
    """

    steps: list[Step]
    loaded: list[Any] = field(default_factory=list)

    def transforms(self, keeps: Callable[[Step], bool]) -> list[Transform]:
        """The transforms whose step ``keeps``."""
        return [step.transform for step in self.steps if keeps(step)]

    @property
    def loading(self) -> list[Transform]:
        """The transforms that are neither random nor geometry."""
        return self.transforms(lambda step: step.loads)


def trace(pipeline: Any, samples: Iterable[Any], loaded: Sequence[Any] = ()) -> Trace:
    """Run a pipeline on a few images, one transform after the other, and sort its transforms.

    The run's random state is not touched. A transform that fails ends the look at its image.

    Args:
        pipeline: a Compose, a callable, or a list of callables; its transforms are copied.
        samples: what the data set gives the pipeline, for each image.
        loaded: what else to go on with where a transform fails, for each image.

    Example:
        >>> def load(results):
        ...     return dict(results, img=np.full((4, 6, 3), 7))
        >>> def crop(results):
        ...     return dict(results, img=results["img"][:2])
        >>> [step.is_geometry for step in trace([load, crop], [{}]).steps]
        [False, True]
    """
    traced = Trace([_static(transform) for transform in flatten(pipeline)])
    copies = [copied(step.transform) for step in traced.steps]
    with preserved_random_state():
        for number, sample in enumerate(samples):
            instead = loaded[number] if number < len(loaded) else None
            traced.loaded.append(_trace_image(traced.steps, copies, sample, instead))
    return traced


def _trace_image(
    steps: Sequence[Step], copies: Sequence[Transform], sample: Any, instead: Any
) -> Any:
    """Note in ``steps`` what they do to one image; return it loaded, without the other steps."""
    results, loaded = sample, copied(sample)
    for step, transform in zip(steps, copies, strict=True):
        before = copied(results)
        sizes, labels = _sizes(before), _labels(before)
        step.has_image |= bool(sizes)
        outputs: list[Any] = []

        def run(
            transform: Transform = transform, before: Any = before, outputs: list[Any] = outputs
        ) -> None:
            outputs.append(transform(copied(before)))

        states = digest(generator_states(transform))
        try:
            step.is_random |= (
                draws_random_numbers(run) or digest(generator_states(transform)) != states
            )
            for _ in range(REPEATS if step.is_random else 1):
                run()
        except Exception:  # whatever a transform raises on an image that is not made for it
            if step.is_random:  # it mixes images, and there is one
                continue
            if instead is None:
                return loaded
            results = copied(instead)
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
            except Exception:  # it needs what a random transform leaves
                continue
    return loaded


def flatten(pipeline: Any) -> list[Transform]:
    """The transforms of a pipeline, also of those that are nested and always applied.

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
    """Transforms inside of one that does nothing but apply them; None of any other."""
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
    """Name of a transform for messages.

    Example:
        >>> name_of(abs), name_of(Step(abs))
        ('abs', 'Step')
    """
    return str(getattr(transform, "__name__", type(transform).__name__))


def signature(transform: Any) -> str:
    """Digest of what a transform does to an image and its labels, whatever it notes beside them."""
    attributes = getattr(transform, "__dict__", None)
    if not attributes or isinstance(transform, type) or hasattr(transform, "__name__"):
        return digest(transform)
    kept = {name: value for name, value in attributes.items() if name != "meta_keys"}
    return digest([type(transform), kept])


def copied(value: Any) -> Any:
    """A deep copy, or the value itself if it cannot be copied (connections, locks)."""
    try:
        return copy.deepcopy(value)
    except Exception:  # whatever its parts raise
        return value


def generator_states(value: Any, depth: int = 4) -> list[Any]:
    """The states of the random generators that an object keeps for itself.

    Args:
        value: any object; lists, dicts and attributes inside of it are searched.
        depth: how far.

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


def _static(transform: Transform) -> Step:
    """Return a step with the facts that follow from the class of a transform."""
    names = _class_names(transform)
    mixes = hasattr(transform, "get_indices")  # of MultiImageMixDataset
    is_random = (
        mixes
        or hasattr(transform, "_methods_with_randomness")  # mmcv's mark
        or any(name.startswith("random") for name in names)
    )
    return Step(transform, is_random, is_geometry=bool(GEOMETRY & names))


def _class_names(transform: Any) -> set[str]:
    """Lower-case names of an object's classes, and of those of a torchvision transform in it."""
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
    """The class of an image, and the classes in its label map, as far as there are any."""
    if not isinstance(results, Mapping):
        return {}
    labels = {key: np.unique(results[key]).tolist() for key in LABEL_MAPS if key in results}
    if results.get("gt_label") is not None:
        labels["gt_label"] = np.ravel(results["gt_label"]).tolist()
    return labels


def _change_of_labels(before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]) -> list[Any]:
    """The new class of an image, and the label maps with new classes; one may fill a border."""
    changes = [
        values if key == "gt_label" else key
        for key, values in after.items()
        if key in before
        and (
            values != before[key] if key == "gt_label" else len(set(values) - set(before[key])) > 1
        )
    ]
    return changes
