"""Everything between a built run and its first distilled step: checks, teacher, banks."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine import dist
from mmengine.logging import print_log

from mmickd.banks.building import build_banks
from mmickd.banks.cache import BankCache, default_cache_dir
from mmickd.banks.distributing import Bank
from mmickd.banks.fingerprint import digest, images_digest
from mmickd.banks.images import BankImages, check_first_sample, choose_pipeline
from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.obtaining import obtain_banks
from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.shard import BankShard
from mmickd.checks import (
    check_classes,
    check_identity,
    probe_student,
    probe_teacher,
    warn_of_early_weights,
    warn_of_mixing,
)
from mmickd.distiller import Distiller
from mmickd.losses.terms import LossTerms
from mmickd.mutual import MutualDistiller
from mmickd.mutual_preparation import prepare_mutual
from mmickd.options import HookOptions
from mmickd.retrieval.sharded import ShardedRetriever
from mmickd.retrieval.stored_query import StoredQuery
from mmickd.run_parts import RunParts
from mmickd.tasks import BaseTask, make_task
from mmickd.teachers import BaseTeacher, OnlineTeacher
from mmickd.utils.distributed import failing_together, patient_ranks


@dataclass(frozen=True)
class _Checked:
    """A run that was found right, with what was built for the look."""

    task: BaseTask
    levels: tuple[str, ...]
    terms: LossTerms
    images: BankImages
    fields: dict[str, dict[str, Any]]
    layer: str
    queues: dict[str, QueueBank]


def prepare(options: HookOptions, run: RunParts) -> tuple[Distiller | MutualDistiller, str]:
    """Check everything, build the teacher, get the banks.

    Returns:
        The distiller, and the name of the student's classifier layer.

    Raises:
        ICKDError: on every rank, with what is wrong, where, and what to do.
    """
    with patient_ranks():
        if isinstance(options.teacher, OnlineTeacher):
            return prepare_mutual(options, options.teacher, run)
        return _prepare(options, options.teacher, run)


def _prepare(options: HookOptions, teacher: BaseTeacher, run: RunParts) -> tuple[Distiller, str]:
    teacher.fetch()
    with failing_together():
        checked = _check(options, teacher, run)
    banks: dict[str, Bank | QueueBank] = dict(checked.queues)
    if checked.fields:
        frozen = obtain_banks(
            checked.fields,
            _cache(options),
            lambda missing: _build(missing, checked, options, teacher, run),
            options.bank.shard,
        )
        banks.update({level: bank.to(run.device) for level, bank in frozen.items()})
    whole = {level: bank for level, bank in banks.items() if isinstance(bank, MemoryBank)}
    retriever = options.retriever
    sharded = any(isinstance(bank, BankShard) for bank in banks.values())
    distiller = Distiller(
        teacher=teacher,
        task=checked.task,
        levels=checked.levels,
        banks=banks,
        search=ShardedRetriever(retriever).search if sharded else retriever.search,
        terms=checked.terms,
        anchors=options.anchors,
        stored={level: StoredQuery(whole[level]) for level in whole if options.query == "bank"},
        exclude_same_id=options.exclude_same_id,
        seed=options.bank.seed,
        device=run.device,
    )
    return distiller, checked.layer


def _check(options: HookOptions, teacher: BaseTeacher, run: RunParts) -> _Checked:
    """Build the teacher and let it, the student and the data meet for one image."""
    teacher.build(run.device, run.model)
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
    # Before any image is read: transforms may keep what they meet.
    cacheable = needs_bank and teacher.is_frozen
    fields = _fields(options, levels, images, task) if cacheable else {}
    sample = check_first_sample(images, task.has_label)
    tapped = probe_teacher(teacher, task, sample)
    layer, width = probe_student(run.model, options.layer, sample)
    check_classes(width, teacher.tap.num_classes, teacher.classes, run.train_dataset)
    if needs_bank and options.exclude_same_id:
        check_identity(run.train_dataset, sample)
    warn_of_mixing(run.model)
    for level in fields:
        fields[level].update(teacher.fingerprint(), num_classes=teacher.tap.num_classes)
    queues = {}
    if not teacher.is_frozen:
        capacity = options.check_queue(terms)
        warn_of_early_weights(terms, ["kd", "nicd"] if teacher.is_ready else ["nicd"])
        if needs_bank:
            shape = teacher.tap.num_classes, capacity, tapped.features.shape[1]
            queues = {level: QueueBank(*shape, device=run.device) for level in levels}
    return _Checked(task, levels, terms, images, fields, layer, queues)


def _retrieving(terms: LossTerms) -> list[str]:
    return [name for name in ("picd", "nicd") if name in terms]


def _build(
    levels: list[str],
    checked: _Checked,
    options: HookOptions,
    teacher: BaseTeacher,
    run: RunParts,
) -> dict[str, MemoryBank | None]:
    settings, images = options.bank, checked.images
    print_log(f"Building the memory bank from {len(images)} training images", logger="current")
    return build_banks(
        {level: settings.options(level) for level in levels},
        images,
        checked.task,
        teacher,
        settings.batch_size or run.batch_size,
        run.num_workers if settings.num_workers is None else settings.num_workers,
    )


def _cache(options: HookOptions) -> BankCache | None:
    settings, teacher = options.bank, options.teacher
    if settings.cache_dir is None:
        return None
    root = default_cache_dir() if settings.cache_dir == "auto" else settings.cache_dir
    # for people who look for it; the folders above are nobody else's business
    named = {key: getattr(teacher, key, None) for key in ("checkpoint", "cfg")}
    about = {
        f"teacher_{'config' if key == 'cfg' else key}": Path(path).name
        for key, path in named.items()
        if isinstance(path, (str, os.PathLike))
    }
    return BankCache(root, settings.cache_limit, about)


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
