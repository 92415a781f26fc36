"""Choice of the transforms that read the training images for a memory bank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import Compose

from mmickd.building.parts import Part, parts_of
from mmickd.building.transforms import (
    PipelineStep,
    Trace,
    Transform,
    flatten,
    name_of,
    signature,
    trace,
    try_deepcopy,
)
from mmickd.utils.config import type_name
from mmickd.utils.digest import digest
from mmickd.utils.errors import ICKDError
from mmickd.utils.random_state import preserved_random_state


@dataclass(frozen=True)
class BankPipeline:
    """Transforms that read the images of one part of a training set.

    Args:
        transforms: Function that returns a packed sample for an image's annotation.
        origin: Origin of the transforms, for messages.
        unresized: The transforms without geometric transforms; None if they are not checked.
        loading: The part's training transforms that are neither random nor geometric.
    """

    transforms: Callable[[Any], Any]
    origin: str
    unresized: Callable[[Any], Any] | None = None
    loading: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        return f"{names_of(self.transforms)} ({self.origin})"

    def copy(self) -> BankPipeline:
        """Return a copy for another part, as transforms may have a state."""
        copies = (try_deepcopy(x) for x in (self.transforms, self.unresized, self.loading))
        transforms, unresized, loading = copies
        return BankPipeline(transforms, self.origin, unresized, loading)


def names_of(pipeline: Any) -> str:
    """Return the names of the transforms of a pipeline, for messages."""
    return ", ".join(name_of(transform) for transform in flatten(pipeline))


def describe_pipelines(pipelines: Iterable[BankPipeline]) -> str:
    """Return the distinct pipelines in one line, for messages."""
    return "; ".join(dict.fromkeys(map(str, pipelines)))


def choose_pipelines(
    option: Any, train_dataset: Any, val_dataset: Any, cfg: Mapping[str, Any]
) -> list[BankPipeline]:
    """Return the pipeline of the bank for each part of the training set.

    ``bank.pipeline`` is used unchanged. Without this option, each part gets its training transforms
    that are neither random nor geometric, and the geometric transforms of evaluation. Without an
    evaluation pipeline, the training pipeline is used if it is not random.

    Evaluation pipelines of data sets of the part's class are preferred, as the images of another
    class may have another form (in memory, in files).

    Args:
        option: ``bank.pipeline``, a list of transforms or None.
        train_dataset: Training set.
        val_dataset: Validation set, or None.
        cfg: The whole config, which may define data sets that this run does not build.

    Returns:
        A pipeline for each of :func:`~mmickd.building.parts.leaf_datasets`.

    Raises:
        ICKDError: If there is no pipeline, it cannot be built, or the training pipeline maps labels
            in a transform that the bank leaves out.
    """
    parts = parts_of(train_dataset)
    if option is not None:
        built = _built(option, "bank.pipeline")
        return [built.copy() for _ in parts]
    candidates = list(_of_evaluation(val_dataset, cfg))
    by_key: dict[str, BankPipeline] = {}
    pipelines = []
    for part in parts:
        key = digest([part.kind, [digest(step) for step in flatten(part.pipeline)]])
        if key not in by_key:
            by_key[key] = _of_part(part, candidates)
        pipelines.append(by_key[key].copy())
    return pipelines


@dataclass(frozen=True)
class _Candidate:
    """Evaluation pipeline.

    Args:
        kind: Class name of its data set; empty if unknown.
        pipeline: Pipeline in the form of the config or the data set.
        origin: Origin of the pipeline, for messages.
        part: Part of the validation set; None if the run has not built the data set.
    """

    kind: str
    pipeline: Any
    origin: str
    part: Part | None = None


def _of_evaluation(val_dataset: Any, cfg: Mapping[str, Any]) -> Iterator[_Candidate]:
    """Yield the evaluation pipelines, the best first."""
    for part in parts_of(val_dataset) if val_dataset is not None else []:
        if part.pipeline is not None:
            yield _Candidate(part.kind, part.pipeline, "of the validation set", part)
    for split in ("val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        for entry in loader if isinstance(loader, (list, tuple)) else [loader]:
            if isinstance(entry, Mapping):
                for kind, pipeline in _configured(entry.get("dataset")):
                    yield _Candidate(kind, pipeline, f"{split}_dataloader of the config")
    for name in ("val_pipeline", "test_pipeline"):
        if cfg.get(name):
            yield _Candidate("", cfg[name], f"{name} of the config")


def _configured(dataset: Any) -> Iterator[tuple[str, Any]]:
    """Yield class name and pipeline of the data sets in a config, inside wrappers."""
    if not isinstance(dataset, Mapping):
        return
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", ())
    for part in inner:
        yield from _configured(part)
    if not inner and dataset.get("pipeline"):
        yield type_name(dataset.get("type")), dataset["pipeline"]


def _of_part(part: Part, candidates: Sequence[_Candidate]) -> BankPipeline:
    """Return the pipeline of one part of the training set."""
    trained = trace(part.pipeline, part.samples()) if part.pipeline is not None else Trace([])
    if not candidates:
        return _of_training(part, trained)
    # If the part is the validation set (as in a gallery), its pipeline is used unchanged.
    best = min(candidates, key=lambda c: (c.pipeline is not part.pipeline, c.kind != part.kind))
    built = _built(best.pipeline, best.origin)
    if part.pipeline is None or best.pipeline is part.pipeline:
        return built
    _check_labels(trained, part)
    samples = part.samples() if best.part is None else best.part.samples()
    evaluated = trace(built.transforms, samples, trained.loaded)
    loading = Compose(trained.loading)
    if _have_same_signatures(trained.loading, evaluated.loading):
        unresized = Compose(evaluated.loading)
        return BankPipeline(built.transforms, built.origin, unresized, loading)
    joined = _joined(trained, evaluated, list(part.samples()))
    unresized = Compose([step.transform for step in joined if not step.is_geometry])
    origin = f"loading of the training set, geometry {best.origin}"
    return BankPipeline(Compose([step.transform for step in joined]), origin, unresized, loading)


def _of_training(part: Part, trained: Trace) -> BankPipeline:
    """Return the pipeline of the training set.

    Raises:
        ICKDError: If there is no pipeline, or it is random.
    """
    if part.pipeline is None or any(step.is_random for step in trained.steps):
        raise ICKDError(
            "there is no pipeline without random transforms for the memory bank: the config has no "
            "val_dataloader, test_dataloader, val_pipeline or test_pipeline, and the training "
            "pipeline is random. Set bank.pipeline to a list of transforms that load an image, "
            "load its label, and pack them."
        )
    return BankPipeline(part.pipeline, "of the training set")


def _check_labels(trained: Trace, part: Part) -> None:
    """Check that training maps no labels in transforms that the bank leaves out.

    Raises:
        ICKDError: With the names of such transforms.
    """
    names = [name_of(step.transform) for step in trained.steps if step.hides_labels]
    if names:
        raise ICKDError(
            f"the training pipeline of {part.kind} maps labels in {', '.join(names)}, which the "
            "memory bank leaves out because it is random or changes the size of images. Map labels "
            "in a separate transform, or set bank.pipeline to transforms that load an image, load "
            "its label as in training, and pack them."
        )


def _have_same_signatures(a: Sequence[Transform], b: Sequence[Transform]) -> bool:
    return [signature(t) for t in a] == [signature(t) for t in b]


def _joined(trained: Trace, evaluated: Trace, samples: Sequence[Any]) -> list[PipelineStep]:
    """Return the loading steps of training, joined with the geometric steps of evaluation.

    The geometric steps replace the geometric steps of training. If they fail at this place (for PIL
    images or numpy arrays), other places are tried.
    """
    places = _places_of_geometry(trained.steps)
    for place in places:
        steps = _joined_at(place, trained, evaluated)
        if _runs([try_deepcopy(step.transform) for step in steps], samples):
            return steps
    return _joined_at(places[0], trained, evaluated)


def _runs(transforms: Sequence[Transform], samples: Sequence[Any]) -> bool:
    try:
        with preserved_random_state():
            return all(Compose(transforms)(try_deepcopy(sample)) is not None for sample in samples)
    except Exception:  # a transform may raise anything for an image of another form
        return False


def _joined_at(place: int, trained: Trace, evaluated: Trace) -> list[PipelineStep]:
    geometry = [step for step in evaluated.steps if step.is_geometry]
    steps: list[PipelineStep] = []
    for number, step in enumerate(trained.steps):
        if number == place:
            steps += geometry
        if step.loads:
            steps.append(step)
    if not any(step.packs for step in steps):
        if place == len(trained.steps):
            steps += geometry
        steps += [step for step in evaluated.steps if step.packs]
    return steps


def _places_of_geometry(steps: Sequence[PipelineStep]) -> list[int]:
    """Return the places of geometric steps among the training steps, the best first."""
    numbers = range(len(steps))
    first = next((n for n in numbers if steps[n].has_image), len(steps))
    last = next((n for n in numbers if steps[n].packs), len(steps))
    inside = numbers[first:last]
    geometry = [number for number in inside if steps[number].is_geometry]
    left_out = [number for number in inside if not steps[number].loads]
    return [*geometry, *left_out, *reversed(range(first, last + 1))] or [len(steps)]


def _built(pipeline: Any, origin: str) -> BankPipeline:
    if callable(pipeline):
        return BankPipeline(pipeline, origin)
    try:
        return BankPipeline(Compose(pipeline), origin)
    except Exception as error:  # a transform may raise anything
        raise ICKDError(
            f"the transforms of the memory bank ({origin}) cannot be built "
            f"({type(error).__name__}: {str(error)[:300]}). Set bank.pipeline to a list of "
            "transforms that load an image, load its label, and pack them."
        ) from error
