"""Everything between a built run and its first distilled step: all checks, teacher, banks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine import dist
from mmengine.logging import print_log
from torch import nn

from mmickd.banks.building import build_banks
from mmickd.banks.cache import BankCache, default_cache_dir
from mmickd.banks.fingerprint import digest, images_digest
from mmickd.banks.images import BankImages, check_first_sample, choose_pipeline
from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.obtaining import obtain_banks
from mmickd.distiller import Distiller
from mmickd.losses.terms import LossTerms
from mmickd.options import BankSettings, HookOptions
from mmickd.taps import Tap, Tapped, evaluating, find_classifier
from mmickd.tasks import BaseTask, make_task
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import plain_name


@dataclass(frozen=True)
class RunParts:
    """What preparation needs of a run.

    Args:
        model: the unwrapped student.
        device: where it trains.
        train_dataset: the live training set.
        val_dataset: the live validation set, or None.
        batch_size: of training.
        num_workers: of the training loader.
    """

    model: nn.Module
    device: torch.device
    train_dataset: Any
    val_dataset: Any
    batch_size: int
    num_workers: int


def prepare(options: HookOptions, run: RunParts) -> tuple[Distiller, str]:
    """Check everything, build the teacher, get the banks.

    Returns:
        The distiller, and the name of the student's classifier layer.

    Raises:
        ICKDError: with what is wrong, where, and what to do.
    """
    teacher = options.teacher
    teacher.build(run.device, getattr(run.model, "data_preprocessor", None))
    task = make_task(run.model, teacher.model)
    task.check_student(run.model)
    levels = options.resolve_levels(task.levels)
    terms = LossTerms.of(options.losses, task.kd_temperature)

    images = BankImages(
        run.train_dataset,
        choose_pipeline(options.bank.pipeline, run.train_dataset, run.val_dataset),
    )
    images.limit(options.bank.max_images, options.bank.seed)
    needs_bank = terms.needs_bank and not all(terms.schedules[t].is_off for t in _retrieving(terms))
    fields = _fields(options, levels, images, task) if needs_bank else {}
    sample = check_first_sample(images, task.has_label)
    inputs = teacher.preprocess(_batch_of(sample))
    tapped = teacher.probe(inputs)
    task.view(tapped, [sample["data_samples"]], (inputs.shape[2], inputs.shape[3]))
    layer, width = _probe_student(run.model, options.layer, sample)
    _check_classes(width, teacher.tap.num_classes, teacher.classes, run.train_dataset)
    _warn_of_mixing(run.model)

    banks: dict[str, MemoryBank] = {}
    if needs_bank:
        for level in fields:
            fields[level].update(teacher.fingerprint(), num_classes=teacher.tap.num_classes)
        banks = obtain_banks(
            fields,
            _cache(options.bank),
            lambda missing: _build(missing, images, task, options, run),
        )
    distiller = Distiller(
        teacher=teacher,
        task=task,
        levels=levels,
        banks={level: bank.to(run.device) for level, bank in banks.items()},
        retriever=options.retriever,
        terms=terms,
        anchors=options.anchors,
        query=options.query,
        exclude_same_id=options.exclude_same_id,
        seed=options.bank.seed,
        rank=dist.get_rank(),
        device=run.device,
    )
    return distiller, layer


def _retrieving(terms: LossTerms) -> list[str]:
    return [name for name in ("picd", "nicd") if name in terms]


def _build(
    levels: list[str], images: BankImages, task: BaseTask, options: HookOptions, run: RunParts
) -> dict[str, MemoryBank]:
    settings = options.bank
    print_log(f"Building the memory bank from {len(images)} training images", logger="current")
    return build_banks(
        {level: settings.options(level) for level in levels},
        images,
        task,
        options.teacher,
        settings.batch_size or run.batch_size,
        run.num_workers if settings.num_workers is None else settings.num_workers,
    )


def _cache(settings: BankSettings) -> BankCache | None:
    if settings.cache_dir is None:
        return None
    return BankCache(default_cache_dir() if settings.cache_dir == "auto" else settings.cache_dir)


def _fields(
    options: HookOptions, levels: tuple[str, ...], images: BankImages, task: BaseTask
) -> dict[str, dict[str, Any]]:
    """By level, what the bank depends on beside the teacher."""
    shared = {
        "images": images_digest(images) if dist.is_main_process() else "",
        "pipeline": digest(images.pipeline),
        "ignore_index": getattr(task, "ignore_index", None),
        "align_corners": getattr(task, "teacher_align_corners", None),
    }
    fields = {}
    for level in levels:
        decisions = asdict(options.bank.options(level))
        fields[level] = {**shared, "level": level, **{k: str(v) for k, v in decisions.items()}}
    return fields


def _batch_of(sample: dict[str, Any]) -> dict[str, Any]:
    """One packed sample as a collated batch; preprocessors may change it, so it is a copy."""
    return {
        "inputs": [sample["inputs"].clone()],
        "data_samples": [copy.deepcopy(sample["data_samples"])],
    }


def _probe_student(model: nn.Module, layer: str, sample: dict[str, Any]) -> tuple[str, int]:
    """Name and width of the student's classifier layer, after one pass of it in eval.

    A sharded model (FSDP) cannot run from here: it gets by with the usual names, or an explicit
    one.
    """
    sharded = any(plain_name(name) != name for name, _ in model.named_modules())

    def run() -> Any:
        data = model.data_preprocessor(_batch_of(sample), False)  # type: ignore[operator]
        values = data if isinstance(data, Mapping) else {"inputs": data[0]}
        return model(values["inputs"], mode="tensor")

    if layer == "auto":
        layer = find_classifier(model, run, "student", "layer")
    tap = Tap(model, layer)
    try:
        if not sharded:
            _run_in_eval(model, run, tap)
        return layer, tap.num_classes
    finally:
        tap.close()


def _run_in_eval(model: nn.Module, run: Any, tap: Tap) -> Tapped:
    tap.arm()
    with evaluating(model), torch.no_grad():
        run()
    tapped = tap.take()
    if tapped is None:
        raise ICKDError(
            f"the student's layer '{tap.layer}' does not run in its forward pass. Set the hook's "
            "layer to the layer that gives the logits."
        )
    return tapped


def _check_classes(
    student: int, teacher: int, teacher_names: tuple[str, ...] | None, dataset: Any
) -> None:
    """Student, teacher and data must speak of the same classes, in the same order."""
    names = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if student != teacher:
        raise ICKDError(
            f"the student tells {student} classes apart, the teacher {teacher}: distillation needs "
            "the same classes. Use a teacher trained on the student's classes."
        )
    if names is not None and len(names) != student:
        raise ICKDError(
            f"the training set has {len(names)} classes, student and teacher have {student}: set "
            "num_classes of the heads, or metainfo.classes of the data set."
        )
    if names is None or teacher_names is None:
        return
    own = [str(name).casefold() for name in names]
    theirs = [name.casefold() for name in teacher_names]
    if own != theirs:
        first = next(
            (i for i, pair in enumerate(zip(own, theirs, strict=False)) if pair[0] != pair[1]),
            min(len(own), len(theirs)),
        )
        there = theirs[first] if first < len(theirs) else "nothing"
        raise ICKDError(
            f"the teacher's checkpoint was trained on other classes, or another order of them: "
            f"class {first} is '{own[first] if first < len(own) else 'nothing'}' in the training "
            f"set and '{there}' in the teacher. Use a teacher with the classes in the same order."
        )


def _warn_of_mixing(model: nn.Module) -> None:
    if getattr(getattr(model, "data_preprocessor", None), "batch_augments", None):
        print_log(
            "The data preprocessor mixes images (batch_augments): KD applies to all of them, the "
            "in-context terms to those that come out unmixed.",
            logger="current",
            level=30,
        )
