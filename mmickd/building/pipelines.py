"""The transforms that a memory bank reads the training images with, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import Compose

from mmickd.building.parts import Part, parts_of
from mmickd.building.transforms import (
    Step,
    Trace,
    Transform,
    copied,
    flatten,
    name_of,
    signature,
    trace,
)
from mmickd.utils.config import type_name
from mmickd.utils.digest import digest
from mmickd.utils.errors import ICKDError
from mmickd.utils.random_state import preserved_random_state


@dataclass(frozen=True)
class BankPipeline:
    """Transforms for the images of one part of a data set.

    Args:
        transforms: one callable, from a data set's annotation of an image to a packed sample.
        origin: where they come from, for the log and for messages.
        unresized: the transforms without geometry; None where nothing is to be compared.
        loading: the part's own transforms in training that are neither random nor geometry.
    """

    transforms: Callable[[Any], Any]
    origin: str
    unresized: Callable[[Any], Any] | None = None
    loading: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        return f"{names_of(self.transforms)} ({self.origin})"

    def copy(self) -> BankPipeline:
        """The same for another part: transforms may keep what they meet in the first image."""
        return BankPipeline(
            copied(self.transforms), self.origin, copied(self.unresized), copied(self.loading)
        )


def names_of(pipeline: Any) -> str:
    """Names of the transforms of a pipeline, for the log and for messages."""
    return ", ".join(name_of(transform) for transform in flatten(pipeline))


def describe_pipelines(pipelines: Iterable[BankPipeline]) -> str:
    """The pipelines that differ, in one line."""
    return "; ".join(dict.fromkeys(map(str, pipelines)))


def choose_pipelines(
    option: Any, train_dataset: Any, val_dataset: Any, cfg: Mapping[str, Any]
) -> list[BankPipeline]:
    """Return the pipeline of the bank for each part of the training set.

    ``bank.pipeline`` is taken as it is. Without it, each part is loaded as in training (images,
    labels, all that is neither random nor geometry), and evaluation's geometry follows. Without a
    pipeline of evaluation, training's own is used if it is not random.

    A data set of evaluation that is of the part's class is preferred: another class may keep its
    images in another form (in memory, in files).

    Args:
        option: ``bank.pipeline``, a list of transforms or None.
        train_dataset: the live training set.
        val_dataset: the live validation set, or None.
        cfg: the whole config; it may have data sets that this run does not build.

    Returns:
        One for each of :func:`~mmickd.building.parts.leaf_datasets`.

    Raises:
        ICKDError: if none can be found or built, or training maps labels where the bank cannot
            follow.
    """
    parts = parts_of(train_dataset)
    if option is not None:
        built = _built(option, "bank.pipeline")
        return [built.copy() for _ in parts]
    candidates = list(_of_evaluation(val_dataset, cfg))
    made: dict[str, BankPipeline] = {}
    pipelines = []
    for part in parts:
        key = digest([part.kind, [digest(step) for step in flatten(part.pipeline)]])
        if key not in made:
            made[key] = _of_part(part, candidates)
        pipelines.append(made[key].copy())
    return pipelines


@dataclass(frozen=True)
class _Candidate:
    """A pipeline of evaluation.

    Args:
        kind: class of its data set; empty if not known.
        pipeline: of the config, or live.
        origin: for the log and for messages.
        part: its live data set, if there is one.
    """

    kind: str
    pipeline: Any
    origin: str
    part: Part | None = None


def _of_evaluation(val_dataset: Any, cfg: Mapping[str, Any]) -> Iterator[_Candidate]:
    """Pipelines of all that evaluates; the best ones first."""
    for part in parts_of(val_dataset) if val_dataset is not None else []:
        if part.pipeline is not None:
            yield _Candidate(part.kind, part.pipeline, "of the validation set", part)
    for split in ("val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        for one in loader if isinstance(loader, (list, tuple)) else [loader]:
            if isinstance(one, Mapping):
                for kind, pipeline in _configured(one.get("dataset")):
                    yield _Candidate(kind, pipeline, f"{split}_dataloader of the config")
    for name in ("val_pipeline", "test_pipeline"):
        if cfg.get(name):
            yield _Candidate("", cfg[name], f"{name} of the config")


def _configured(dataset: Any) -> Iterator[tuple[str, Any]]:
    """Class and pipeline of the data sets in a config, inside of wrappers."""
    if not isinstance(dataset, Mapping):
        return
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", ())
    for part in inner:
        yield from _configured(part)
    if not inner and dataset.get("pipeline"):
        yield type_name(dataset.get("type")), dataset["pipeline"]


def _of_part(part: Part, candidates: Sequence[_Candidate]) -> BankPipeline:
    """The pipeline of one part of the training set."""
    trained = trace(part.pipeline, part.samples()) if part.pipeline is not None else Trace([])
    if not candidates:
        return _of_training(part, trained)
    # The validation set itself is read as it is (galleries show it).
    best = min(candidates, key=lambda c: (c.pipeline is not part.pipeline, c.kind != part.kind))
    built = _built(best.pipeline, best.origin)
    if part.pipeline is None or best.pipeline is part.pipeline:
        return built
    _check_labels(trained, part)
    samples = part.samples() if best.part is None else best.part.samples()
    evaluated = trace(built.transforms, samples, trained.loaded)
    loading = Compose(trained.loading)
    if _same(trained.loading, evaluated.loading):
        unresized = Compose(evaluated.loading)
        return BankPipeline(built.transforms, built.origin, unresized, loading)
    joined = _joined(trained, evaluated, list(part.samples()))
    unresized = Compose([step.transform for step in joined if not step.is_geometry])
    origin = f"loading of the training set, geometry {best.origin}"
    return BankPipeline(Compose([step.transform for step in joined]), origin, unresized, loading)


def _of_training(part: Part, trained: Trace) -> BankPipeline:
    """The training set's own pipeline.

    Raises:
        ICKDError: if there is none, or it draws random numbers.
    """
    if part.pipeline is None or any(step.is_random for step in trained.steps):
        raise ICKDError(
            "no pipeline without random transforms is known to read the training images with for "
            "the memory bank: the config has no val_dataloader, test_dataloader, val_pipeline or "
            "test_pipeline, and training's own draws random numbers. Set bank.pipeline to a list "
            "of transforms that load an image, its label, and pack them."
        )
    return BankPipeline(part.pipeline, "of the training set")


def _check_labels(trained: Trace, part: Part) -> None:
    """Training must not map labels in a transform that the bank leaves out.

    Raises:
        ICKDError: with the names of such transforms.
    """
    names = [name_of(step.transform) for step in trained.steps if step.hides_labels]
    if names:
        raise ICKDError(
            f"the training pipeline of {part.kind} maps labels in {', '.join(names)}, which is "
            "random or changes the size of images, so that the memory bank leaves it out and would "
            "hold other labels than training's. Map labels in a transform of its own, or set "
            "bank.pipeline to transforms that load an image, its label as in training, and pack "
            "them."
        )


def _same(ours: Sequence[Transform], theirs: Sequence[Transform]) -> bool:
    return [signature(t) for t in ours] == [signature(t) for t in theirs]


def _joined(trained: Trace, evaluated: Trace, samples: Sequence[Any]) -> list[Step]:
    """Training's loading steps with evaluation's geometry where training's own begins.

    Where the geometry cannot take images in that form (of PIL, of numpy), it goes elsewhere.
    """
    places = _places_of_geometry(trained.steps)
    for place in places:
        steps = _joined_at(place, trained, evaluated)
        if _runs([copied(step.transform) for step in steps], samples):
            return steps
    return _joined_at(places[0], trained, evaluated)


def _runs(transforms: Sequence[Transform], samples: Sequence[Any]) -> bool:
    try:
        with preserved_random_state():
            return all(Compose(transforms)(copied(sample)) is not None for sample in samples)
    except Exception:  # whatever a transform raises on an image that is not made for it
        return False


def _joined_at(place: int, trained: Trace, evaluated: Trace) -> list[Step]:
    geometry = [step for step in evaluated.steps if step.is_geometry]
    steps: list[Step] = []
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


def _places_of_geometry(steps: Sequence[Step]) -> list[int]:
    """Before which steps of training evaluation's geometry may go: the best place, then others."""
    numbers = range(len(steps))
    first = next((n for n in numbers if steps[n].has_image), len(steps))
    last = next((n for n in numbers if steps[n].packs), len(steps))
    possible = range(first, last + 1)
    inside = numbers[first:last]
    geometry = [number for number in inside if steps[number].is_geometry]
    left_out = [number for number in inside if not steps[number].loads]
    return [*geometry, *left_out, *reversed(possible)] or [len(steps)]


def _built(pipeline: Any, origin: str) -> BankPipeline:
    if callable(pipeline):
        return BankPipeline(pipeline, origin)
    try:
        return BankPipeline(Compose(pipeline), origin)
    except Exception as error:  # whatever a transform raises when it is made
        raise ICKDError(
            f"the transforms of the memory bank ({origin}) cannot be built "
            f"({type(error).__name__}: {str(error)[:300]}). Set bank.pipeline to a list of "
            "transforms that load an image, its label, and pack them."
        ) from error
