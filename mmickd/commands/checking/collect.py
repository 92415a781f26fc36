"""Collection of the report of ``mmickd check``, from a small bank and a few training steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from mmickd.building.build import NoRowsError, check_present_classes
from mmickd.building.images import BankImages
from mmickd.commands.checking.report import CheckReport
from mmickd.commands.checking.sections import (
    FrozenBankReport,
    bank_sections,
    layers_section,
    losses_section,
    shares_section,
    terms_sections,
    times_section,
)
from mmickd.commands.checking.size import complete_share, size_of_whole
from mmickd.commands.checking.trial_steps import run_trial_steps
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.diagnostics.bank_findings import (
    completeness_findings,
    label_issue_findings,
    neighbour_findings,
    size_findings,
    teacher_findings,
)
from mmickd.diagnostics.bank_report import mean_over_classes
from mmickd.diagnostics.class_order import class_order_findings
from mmickd.diagnostics.finding import Finding
from mmickd.diagnostics.label_issues import share_of_label_issues


def collect(cfg: Config, images: int) -> CheckReport:
    """Return the report on a run, which is prepared up to its first step.

    Args:
        cfg: The whole config; it is not changed.
        images: Number of images of the small bank; it is doubled while no image has a label.

    Raises:
        ICKDError: If the run cannot begin.
    """
    while True:
        try:
            with open_run(cfg, sample=images) as run:
                return _collect(run)
        except NoRowsError as error:
            if error.images < images:  # the run has no more images
                raise
            images *= 2


def _collect(run: OpenRun) -> CheckReport:
    teacher = run.distiller.teacher
    images = _all_images(run)
    frozen = {} if images is None else _frozen_banks(run, images)
    steps = run_trial_steps(run)
    classes = _class_names(run)

    labels, predictions = steps.labels, steps.predictions
    if frozen:
        sample = next(iter(frozen.values())).sample
        labels, predictions = sample.labels, sample.logits.argmax(dim=1)
    agreement = class_agreement = None
    if teacher.is_frozen and len(labels):
        is_correct = (predictions == labels).double()
        agreement, class_agreement = float(is_correct.mean()), mean_over_classes(is_correct, labels)

    findings = [*run.findings, *_bank_findings(run, frozen, classes)]
    has_classes = all(bank.report.present > 1 for bank in frozen.values())
    if class_agreement is not None and has_classes:
        if not frozen:
            findings += teacher_findings(class_agreement, len(labels.unique()))
        findings += class_order_findings(labels, predictions, classes)
    # At first, gradients from a teacher that learns mean nothing; one class has no negatives.
    if teacher.is_frozen and has_classes:
        findings += steps.gradient_findings()
    sections = [
        layers_section(run, steps),
        *bank_sections(run, images, frozen, classes),
        shares_section(run, frozen, agreement, class_agreement),
        *terms_sections(run),
        losses_section(steps),
        times_section(steps, bool(frozen)),
    ]
    return CheckReport(sections, [*run.notes, *findings])


def _all_images(run: OpenRun) -> BankImages | None:
    """Return all images of the whole frozen bank; the run has a sample of them."""
    if run.ready.images is None:
        return None
    images = copy.copy(run.ready.images)
    images.limit(run.options.bank.max_images, run.options.bank.seed)
    return images


def _frozen_banks(run: OpenRun, images: BankImages) -> dict[str, FrozenBankReport]:
    """Return the figures of the frozen bank of each level.

    Args:
        run: The run, with the small bank.
        images: Images of the whole bank.
    """
    network, sample_images = run.distiller.teacher.frozen_network, run.ready.images
    options = run.options
    assert network is not None and sample_images is not None
    num_positives = max((request.num_positives for request in run.ready.requests), default=0)
    banks = {}
    for level, report in run.ready.frozen.reports.items():
        sample = run.ready.frozen.samples[level]
        capacity = options.bank.capacity(network.task.levels[level].capacity)
        size = size_of_whole(sample, sample_images, images, capacity)
        if size.is_exact:
            check_present_classes(level, size.rows_per_class, len(images))
        complete = report.complete
        if num_positives and len(sample_images) < len(images):
            share = len(sample_images) / len(images)
            complete = complete_share(size, sample, share, num_positives, options.exclude_same_id)
        label_issues = share_of_label_issues(sample, options.exclude_same_id)
        banks[level] = FrozenBankReport(size, sample, report, complete, label_issues)
    return banks


def _bank_findings(
    run: OpenRun, frozen: Mapping[str, FrozenBankReport], classes: list[str]
) -> Iterator[Finding]:
    """Yield the findings about the frozen banks that the run does not report."""
    for level, bank in frozen.items():
        report = bank.report
        findings = [*size_findings(bank.size.rows_per_class, run.ready.requests)]
        if report.present > 1:
            findings += neighbour_findings(report.knn_accuracy, report.present)
            findings += label_issue_findings(bank.label_issues)
            findings += completeness_findings(bank.complete)
        elif run.ready.images is not None:
            label = int(bank.sample.labels[0])
            findings.append(
                Finding(
                    "one_class",
                    "warning",
                    f"all rows of the small bank, from {len(run.ready.images)} images, are of "
                    f"class {label} ({classes[label]}): agreement, neighbours and gradients cannot "
                    "be checked. Set --images to a larger number.",
                )
            )
        yield from (finding.at(f"{level} level") for finding in findings)


def _class_names(run: OpenRun) -> list[str]:
    """Return the names of the classes; their numbers if the data set has no names."""
    number = max(run.distiller.teacher.class_counts.values())
    metainfo = getattr(run.context.train_dataset, "metainfo", None) or {}
    return [str(name) for name in metainfo.get("classes") or range(number)]
