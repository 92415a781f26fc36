"""The transforms that a memory bank reads the training images with, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import Compose

from mmickd.building.images import leaves, with_pipeline
from mmickd.probing import apart
from mmickd.utils.config import type_name
from mmickd.utils.errors import ICKDError
from mmickd.utils.random_state import draws_random_numbers


@dataclass(frozen=True)
class BankPipeline:
    """Transforms, and whose they are.

    Args:
        transforms: one callable, of what a data set holds of an image to a packed sample.
        origin: where they come from, for the log and for messages.
    """

    transforms: Callable[[Any], Any]
    origin: str

    def __str__(self) -> str:
        parts = getattr(self.transforms, "transforms", [self.transforms])
        names = [getattr(part, "__name__", type(part).__name__) for part in parts]
        return f"{', '.join(names)} ({self.origin})"


def choose_pipeline(
    option: Any, train_dataset: Any, val_dataset: Any, cfg: Mapping[str, Any]
) -> BankPipeline:
    """The pipeline of the bank: as told, else one of evaluation, else training's without chance.

    A data set of evaluation that is of the training set's class is preferred: another class may
    keep its images in another form (in memory, in files).

    Args:
        option: ``bank.pipeline``, a list of transforms or None.
        train_dataset: the live training set.
        val_dataset: the live validation set, or None.
        cfg: the whole config; it may have data sets that this run does not build.

    Raises:
        ICKDError: if none can be found or built.
    """
    if option is not None:
        return _built(option, "bank.pipeline")
    train = leaves(train_dataset)[0]
    own_kind = type(train).__name__
    found = list(_of_evaluation(val_dataset, cfg))
    found.sort(key=lambda one: one[0] != own_kind)
    return _built(*found[0][1:]) if found else _of_training(train)


def _of_evaluation(val_dataset: Any, cfg: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Class of the data set, pipeline and origin of each that evaluates; the best ones first."""
    for dataset in leaves(val_dataset) if val_dataset is not None else []:
        if getattr(dataset, "pipeline", None) is not None:
            yield type(dataset).__name__, dataset.pipeline, "of the validation set"
    for split in ("val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        for one in loader if isinstance(loader, (list, tuple)) else [loader]:
            if isinstance(one, Mapping):
                for kind, pipeline in _configured(one.get("dataset")):
                    yield kind, pipeline, f"{split}_dataloader of the config"
    for name in ("val_pipeline", "test_pipeline"):
        if cfg.get(name):
            yield "", cfg[name], f"{name} of the config"


def _configured(dataset: Any) -> Iterator[tuple[str, Any]]:
    """Class and pipeline of the data sets in a config, inside of wrappers."""
    if not isinstance(dataset, Mapping):
        return
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", ())
    for part in inner:
        yield from _configured(part)
    if not inner and dataset.get("pipeline"):
        yield type_name(dataset.get("type")), dataset["pipeline"]


def _of_training(train: Any) -> BankPipeline:
    """The training set's own pipeline.

    Raises:
        ICKDError: if there is none, or it reads the first image by chance.
    """
    pipeline = getattr(train, "pipeline", None)
    if pipeline is None or draws_random_numbers(lambda: _read_first(train)):
        raise ICKDError(
            "no pipeline without chance is known to read the training images with for the memory "
            "bank: the config has no val_dataloader, test_dataloader, val_pipeline or "
            "test_pipeline, and training's own draws random numbers. Set bank.pipeline to a list "
            "of transforms that load an image, its label, and pack them."
        )
    return BankPipeline(pipeline, "of the training set")


def _read_first(train: Any) -> None:
    own = apart(train)
    try:
        with_pipeline(own, own.pipeline)[0]
    except Exception:  # it is read again, and what is wrong is explained then
        return


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
