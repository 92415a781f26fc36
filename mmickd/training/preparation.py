"""Everything between a built run and its first distilled step: checks, teacher, memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmengine import dist
from mmengine.logging import print_log

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.options import BankOptions
from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.ranks import FrozenBank
from mmickd.building.build import MIN_CLASSES, build_banks
from mmickd.building.images import BankImages, check_first_sample
from mmickd.building.large_images import explain_large_image
from mmickd.building.numbering import number_training_images
from mmickd.building.parts import leaf_datasets
from mmickd.building.pipeline_checks import check_image_keys, check_pipelines
from mmickd.building.pipelines import BankPipeline, choose_pipelines, describe_pipelines
from mmickd.diagnostics.inspection import inspect_bank
from mmickd.losses.terms import LossTerms
from mmickd.networks.dry_run import dry_run, training_batch
from mmickd.retrieval.memory import Memory
from mmickd.storage.cache import BankCache, StoredBank
from mmickd.storage.files import default_cache_dir
from mmickd.storage.get_or_build import get_or_build_banks
from mmickd.structures import Batch
from mmickd.tasks import task_for
from mmickd.teachers import NetworkTeacher, Teacher
from mmickd.teachers.run_context import RunContext
from mmickd.training.checks import (
    check_batches,
    check_classes,
    check_identity,
    warn_of_early_weights,
    warn_of_mixing,
    warn_of_sizes,
)
from mmickd.training.distiller import Distiller
from mmickd.training.options import HookOptions
from mmickd.utils.digest import digest
from mmickd.utils.distributed import long_timeout_group, raise_on_all_ranks
from mmickd.utils.errors import OptionError

PROBED = 2
"""Images of the training batch that networks are tried on."""


@dataclass(frozen=True)
class ReadyRun:
    """A run that can take its first step.

    Args:
        distiller: with teacher and memories.
        layer: name of the student's classifier layer.
        stored: by level, where its frozen bank lies; empty without one, or without a cache.
        images: that the frozen bank is built from; None without one.
    """

    distiller: Distiller
    layer: str
    stored: dict[str, StoredBank]
    images: BankImages | None


@dataclass(frozen=True)
class _Checked:
    """A run that was found right.

    Args:
        layer: the student's classifier layer.
        num_classes: of student and teacher.
        terms: of the student.
        levels: of the terms that are not dense.
        images: that a frozen bank is built from, if there is one.
        fields: by level, what the frozen bank depends on; empty if there is none.
        queued: levels of the queues of a teacher that learns.
    """

    layer: str
    num_classes: int
    terms: LossTerms
    levels: tuple[str, ...]
    images: BankImages | None
    fields: dict[str, dict[str, Any]]
    queued: tuple[str, ...]


def prepare(options: HookOptions, run: RunContext, min_classes: int = MIN_CLASSES) -> ReadyRun:
    """Check everything, build the teacher, get the banks.

    Args:
        options: of the hook.
        run: parts of the runner.
        min_classes: classes that a frozen bank must have rows of.

    Raises:
        ICKDError: on every rank, with what is wrong, where, and what to do.
    """
    teacher, bank = options.teacher, options.bank
    with long_timeout_group():
        teacher.fetch()
        with raise_on_all_ranks():
            checked = _check(options, teacher, run)
        banks, stored = _frozen_banks(checked, options, run, min_classes)

    def remember(width: int) -> Memory:
        shape = checked.num_classes, bank.queue_capacity, width
        try:
            queues = {level: QueueBank(*shape, device=run.device) for level in checked.queued}
        except RuntimeError as error:  # what torch says where there is no memory
            raise OptionError(
                "bank.capacity_per_class",
                bank.queue_capacity,
                f"queues of so many rows cannot be held ({error}).",
            ) from error
        return Memory(
            {**banks, **queues},
            options.retriever,
            options.exclude_same_id,
            query_by_stored=options.query == "bank",
        )

    teacher.open(remember, bank.momentum)
    distiller = Distiller(teacher, checked.terms, checked.levels, options.anchors, bank.seed)
    return ReadyRun(distiller, checked.layer, stored, checked.images)


def _check(options: HookOptions, teacher: Teacher, run: RunContext) -> _Checked:
    """Build the teacher and let it, the student and the data meet."""
    check_batches(run.batches, len(run.train_dataset), run.batch_size)
    task = task_for(run.student, run.student)
    task.check_student(run.student)
    teacher.build(run)
    levels = options.choose_levels(task.levels)
    terms = LossTerms.build(options.losses, task.loss_defaults)
    all_terms = teacher.all_terms(terms, task.loss_defaults)
    retrieves = any(one.retrieving for one in all_terms)

    if retrieves and (options.exclude_same_id or options.query == "bank"):
        number_training_images(leaf_datasets(run.train_dataset), run.has_worker_copies)
    count = min(PROBED, run.batch_size)
    batch = training_batch(run.student, run.train_dataset, run.collate, count, task.check_sample)
    usual = task.classifier_names(run.student)
    layer, num_classes = dry_run(run.student, options.layer, usual, batch)
    teacher.dry_run(batch, layer)
    check_classes(num_classes, teacher.class_counts, teacher.classes, run.train_dataset)
    warn_of_mixing(run.student)

    images: BankImages | None = None
    fields: dict[str, dict[str, Any]] = {}
    queued: tuple[str, ...] = ()
    if isinstance(teacher, NetworkTeacher) and teacher.is_frozen:
        if retrieves:
            pipelines = bank_pipelines(options.bank, run)
            images = bank_images(options.bank, run, pipelines)
            # Before any image is read: transforms may keep what they meet.
            fields = _fields(options.bank, levels, images, teacher)
            _check_bank_images(images, teacher, batch, options.exclude_same_id)
            check_pipelines(run.train_dataset, pipelines)
    else:
        options.check_queue(all_terms)
        warn_of_early_weights(all_terms, teacher.lags_student)
        if retrieves:
            queued = levels
            if options.exclude_same_id:
                check_identity(batch.data_samples[0].metainfo, _annotation(run.train_dataset))
    return _Checked(layer, num_classes, terms, levels, images, fields, queued)


def bank_pipelines(bank: BankOptions, run: RunContext) -> list[BankPipeline]:
    """Return the pipeline of each part of the training set for the bank, and log them."""
    pipelines = choose_pipelines(bank.pipeline, run.train_dataset, run.val_dataset, run.cfg)
    line = f"The memory bank reads the training images by {describe_pipelines(pipelines)}"
    print_log(line, logger="current")
    return pipelines


def bank_images(
    bank: BankOptions, run: RunContext, pipelines: Sequence[BankPipeline]
) -> BankImages:
    """The training images as the bank will see them, by :func:`bank_pipelines`."""
    images = BankImages(run.train_dataset, *(pipeline.transforms for pipeline in pipelines))
    images.limit(bank.max_images, bank.seed)
    return images


def _check_bank_images(
    images: BankImages, teacher: NetworkTeacher, batch: Batch, excludes_same_id: bool
) -> None:
    """Read the first image of the bank, compare it with a training batch, run the teacher on it."""
    sample = check_first_sample(images, teacher.task.has_label)
    check_image_keys(images)
    teacher.task.check_sample(sample["data_samples"], images.name(0))
    warn_of_sizes(teacher.task, batch.inputs, sample["inputs"])
    if excludes_same_id:
        check_identity(batch.data_samples[0].metainfo, sample["data_samples"].metainfo)
    with explain_large_image(images.name(0), sample):
        teacher.view_of_bank_images([sample])


def _annotation(dataset: Any) -> dict[str, Any]:
    """What a data set itself calls its first image; a queue has no pipeline of its own to ask."""
    get = getattr(dataset, "get_data_info", None)
    return {} if get is None else {"img_path": get(0).get("img_path")}


def _frozen_banks(
    checked: _Checked, options: HookOptions, run: RunContext, min_classes: int
) -> tuple[dict[str, FrozenBank], dict[str, StoredBank]]:
    """By level, the bank of a frozen teacher on the run's device, and its place in the cache."""
    teacher, bank = options.teacher, options.bank
    images = checked.images
    if images is None:
        return {}, {}
    assert isinstance(teacher, NetworkTeacher)  # who else is frozen
    built: list[str] = []

    def build(levels: Sequence[str]) -> dict[str, MemoryBank | None]:
        built.extend(levels)
        batch_size = bank.batch_size or run.batch_size
        num_workers = run.num_workers if bank.num_workers is None else bank.num_workers
        return build_banks(levels, bank, images, teacher, batch_size, num_workers, min_classes)

    def inspect(level: str, whole: MemoryBank | None) -> None:
        if whole is not None:
            inspect_bank(level, whole, checked.terms, options.exclude_same_id)

    cache = _cache(bank, teacher, images)
    banks = get_or_build_banks(
        checked.fields,
        cache,
        build,
        bank.shard,
        teacher.width,
        run.device,
        inspect,
    )
    if cache is None:
        return banks, {}
    fields = checked.fields.items()
    return banks, {level: StoredBank(cache, of, level not in built) for level, of in fields}


def _cache(bank: BankOptions, teacher: NetworkTeacher, images: BankImages) -> BankCache | None:
    if bank.cache_dir is None:
        return None
    root = default_cache_dir() if bank.cache_dir == "auto" else bank.cache_dir
    return BankCache(root, bank.cache_limit, teacher.about(), images.names)


def _fields(
    bank: BankOptions, levels: Sequence[str], images: BankImages, teacher: NetworkTeacher
) -> dict[str, dict[str, Any]]:
    """By level, what the bank depends on."""
    shared = {
        "images": images.digest() if dist.is_main_process() else "",
        "pipeline": digest(images.pipelines),
        **teacher.task.settings(),
        **teacher.fingerprint(),
        "num_classes": teacher.tap.num_classes,
    }
    capacities = {level: teacher.task.levels[level].capacity for level in levels}
    return {
        level: {**shared, "level": level, **bank.fingerprint_fields(capacity)}
        for level, capacity in capacities.items()
    }
