"""Checks between a built run and the first bank: options, networks and data fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmengine import dist
from mmengine.logging import print_log

from mmickd.banks.options import BankOptions
from mmickd.building.images import BankImages
from mmickd.building.large_images import explain_large_image
from mmickd.building.numbering import number_training_images
from mmickd.building.parts import leaf_datasets
from mmickd.building.pipeline_checks import check_first_sample, check_image_keys, check_pipelines
from mmickd.building.pipelines import choose_pipelines, describe_pipelines
from mmickd.diagnostics.bank_findings import RowRequest
from mmickd.diagnostics.finding import Finding
from mmickd.losses.terms import LossTerms
from mmickd.networks.dry_run import dry_run, training_batch
from mmickd.structures import Batch
from mmickd.tasks import task_for
from mmickd.teachers import NetworkTeacher
from mmickd.teachers.run_context import RunContext
from mmickd.training.checks import (
    check_batches,
    check_classes,
    check_identity,
    early_weight_findings,
    image_size_findings,
    mixing_findings,
)
from mmickd.training.options import HookOptions
from mmickd.utils.digest import digest
from mmickd.utils.distributed import long_timeout_group, raise_on_all_ranks

DRY_RUN_IMAGES = 2
"""Number of images in the batch of the dry run."""


@dataclass(frozen=True)
class CheckedRun:
    """Run whose options, networks and data are checked against each other.

    Args:
        context: Settings, data and builders of the runner.
        layer: Name of the student's classifier layer.
        num_classes: Number of classes of student and teacher.
        all_terms: Terms of the student, then of peers whose terms differ.
        levels: Levels of the terms that are not dense.
        findings: Findings about the run, none of which stops it.
        images: Images that a frozen bank is built from; None without a frozen bank.
        pipeline: Description of the transforms that read the images.
        cache_keys: Cache key of the frozen bank of each level; empty without a frozen bank.
        queue_levels: Levels of the queues of a teacher that learns.
    """

    context: RunContext
    layer: str
    num_classes: int
    all_terms: tuple[LossTerms, ...]
    levels: tuple[str, ...]
    findings: list[Finding]
    images: BankImages | None = None
    pipeline: str = ""
    cache_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    queue_levels: tuple[str, ...] = ()

    @property
    def terms(self) -> LossTerms:
        """Terms of the student."""
        return self.all_terms[0]

    @property
    def requests(self) -> list[RowRequest]:
        """Rows that the student's terms retrieve."""
        return [
            RowRequest(
                f"{self.terms.where}.{term.name}",
                term.loss.num_positives or 0,
                term.loss.num_negatives,
            )
            for term in self.terms.retrieving
        ]


def check_run(options: HookOptions, context: RunContext) -> CheckedRun:
    """Build the teacher, and check that teacher, student and data fit each other.

    Args:
        options: Options of the hook.
        context: Settings, data and builders of the runner.

    Raises:
        ICKDError: On every rank, with the cause, the option and advice.
    """
    with long_timeout_group():
        options.teacher.fetch()
        with raise_on_all_ranks():
            return _check(options, context)


def _check(options: HookOptions, context: RunContext) -> CheckedRun:
    teacher, student, dataset = options.teacher, context.student, context.train_dataset
    findings = [*options.unused_option_findings()]
    check_batches(context.batches, len(dataset), context.batch_size)
    task = task_for(student, student)
    task.check_student(student)
    teacher.build(context)
    levels = options.choose_levels(task.levels)
    terms = LossTerms.build(options.losses, task.loss_defaults)
    all_terms = tuple(teacher.all_terms(terms, task.loss_defaults))
    retrieves = any(learner.retrieving for learner in all_terms)

    if retrieves and (options.exclude_same_id or options.query == "bank"):
        number_training_images(leaf_datasets(dataset), context.has_worker_copies)
    count = min(DRY_RUN_IMAGES, context.batch_size)
    batch = training_batch(student, dataset, context.collate, count, task.check_sample)
    layer, num_classes = dry_run(student, options.layer, task.classifier_names(student), batch)
    teacher.dry_run(batch, layer)
    check_classes(num_classes, teacher.class_counts, teacher.classes, dataset)
    findings += mixing_findings(student)

    checked = CheckedRun(context, layer, num_classes, all_terms, levels, findings)
    network = teacher.frozen_network
    if network is None:
        options.check_queue(all_terms)
        findings += early_weight_findings(all_terms, teacher.lags_student)
        if retrieves and options.exclude_same_id:
            check_identity(batch.data_samples[0].metainfo, _annotation(dataset))
        return replace(checked, queue_levels=levels if retrieves else ())
    if not retrieves:
        return checked
    pipelines = choose_pipelines(options.bank.pipeline, dataset, context.val_dataset, context.cfg)
    description = describe_pipelines(pipelines)
    print_log(f"The memory bank reads the training images by {description}", logger="current")
    images = BankImages(dataset, *(pipeline.transforms for pipeline in pipelines))
    images.limit(options.bank.max_images, options.bank.seed)
    # Before any image is read, as transforms may keep a state.
    cache_keys = _cache_keys(options.bank, levels, images, network)
    findings += _check_bank_images(images, network, batch, options.exclude_same_id)
    check_pipelines(dataset, pipelines)
    return replace(checked, images=images, pipeline=description, cache_keys=cache_keys)


def _check_bank_images(
    images: BankImages, network: NetworkTeacher, batch: Batch, excludes_same_id: bool
) -> list[Finding]:
    """Read the first image of the bank, compare it with a batch, and run the teacher on it."""
    sample = check_first_sample(images, network.task.has_label)
    check_image_keys(images)
    network.task.check_sample(sample["data_samples"], images.name(0))
    findings = [*image_size_findings(network.task, batch.inputs, sample["inputs"])]
    if excludes_same_id:
        check_identity(batch.data_samples[0].metainfo, sample["data_samples"].metainfo)
    with explain_large_image(images.name(0), sample):
        network.view_of_bank_images([sample])
    return findings


def _annotation(dataset: Any) -> dict[str, Any]:
    """Return the name of the first image, from its annotation in the data set."""
    get = getattr(dataset, "get_data_info", None)
    return {} if get is None else {"img_path": get(0).get("img_path")}


def _cache_keys(
    bank: BankOptions, levels: Sequence[str], images: BankImages, network: NetworkTeacher
) -> dict[str, dict[str, Any]]:
    """Return the cache key of the bank of each level."""
    shared = {
        "images": images.digest() if dist.is_main_process() else "",
        "pipeline": digest(images.pipelines),
        **network.task.settings(),
        **network.fingerprint(),
        "num_classes": network.tap.num_classes,
    }
    capacities = {level: network.task.levels[level].capacity for level in levels}
    return {
        level: {**shared, "level": level, **bank.cache_key(capacity)}
        for level, capacity in capacities.items()
    }
