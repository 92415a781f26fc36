"""A run up to its first step, with a small bank, and a look at all that is there."""

from __future__ import annotations

from mmengine.config import Config
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.building.build import NoRowsError, check_present_classes
from mmickd.building.pipelines import describe_pipelines
from mmickd.commands.checking.report import CheckReport, FrozenBankReport, ImagesReport
from mmickd.commands.checking.rules import (
    warning_of_one_class,
    warnings_of_frozen,
    warnings_of_labels,
    warnings_of_steps,
)
from mmickd.commands.checking.size import complete_share, size_of_whole
from mmickd.commands.checking.trial_steps import run_trial_steps
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.diagnostics.bank_report import mean_over_classes, report_of
from mmickd.diagnostics.class_order import share_of_wrong_labels
from mmickd.diagnostics.inspection import warnings_of_numbers, warnings_of_teacher
from mmickd.hooks.entries import hook_options, set_hook_options
from mmickd.teachers import NetworkTeacher
from mmickd.training.options import HookOptions
from mmickd.training.preparation import bank_images, bank_pipelines


def look(cfg: Config, images: int) -> CheckReport:
    """Go the way of a run up to its first step, take a few steps aside, and tell of it.

    Args:
        cfg: the whole config; it is left as it is.
        images: that a frozen bank is built from here; twice as many, and so on, where none of them
            has a label.

    Raises:
        ICKDError: if the run cannot begin.
    """
    options = hook_options(cfg)
    most = options.bank.max_images
    while True:
        small, taken = cfg.copy(), images if most is None else min(images, most)
        if options.teacher.is_frozen:
            set_hook_options(small, bank={"max_images": taken, "cache_dir": None})
        try:
            with open_run(small, min_classes=1) as run:  # a class may be missing in a few images
                return _look(run, options)
        except NoRowsError as error:
            if error.images < taken or taken == most:  # the run itself has no more images
                raise
            images *= 2


def _look(run: OpenRun, options: HookOptions) -> CheckReport:
    teacher = run.distiller.teacher
    banks = {
        (name, level): bank
        for name, memory in teacher.memories.items()
        for level, bank in memory.banks.items()
    }
    images: ImagesReport | None = None
    frozen: dict[str, FrozenBankReport] = {}
    if any(isinstance(bank, MemoryBank) for bank in banks.values()):
        images, frozen = _look_at_frozen(run, options)
    steps = run_trial_steps(run)
    classes = _names(run)

    labels, said = steps.labels, steps.said
    if frozen:
        bank = next(iter(frozen.values())).sampled
        labels, said = bank.labels, bank.logits.argmax(dim=1)
    agreement = class_agreement = None
    if teacher.is_frozen and len(labels):
        right = (said == labels).double()
        agreement, class_agreement = float(right.mean()), mean_over_classes(right, labels)

    warnings = []
    for level, one in frozen.items():
        # What a few images cannot give, all of them may.
        small = {f"{level} level: {w}" for w in _of_numbers(one.sampled.offsets.diff(), run)}
        run.warnings[:] = [warning for warning in run.warnings if warning not in small]
        texts = _of_numbers(one.size.rows_per_class, run)
        if one.report.present > 1:
            texts += warnings_of_frozen(one)
        elif images is not None:
            texts += [warning_of_one_class(one, images.taken, classes)]
        warnings += [f"{level} level: {warning}" for warning in texts]
    has_classes = all(stored.report.present > 1 for stored in frozen.values())
    if class_agreement is not None and has_classes:
        if not frozen:
            warnings += warnings_of_teacher(class_agreement, len(labels.unique()))
        warnings += warnings_of_labels(labels, said, classes)
    warnings += warnings_of_steps(steps, teacher.is_frozen and has_classes)
    return CheckReport(
        options=options,
        student_layer=run.attachment.layer,
        teacher_layers=teacher.layers,
        classes=classes,
        images=images,
        frozen=frozen,
        queues={
            level if len(teacher.memories) == 1 else f"{name}.{level}": bank
            for (name, level), bank in banks.items()
            if isinstance(bank, QueueBank)
        },
        steps=steps,
        agreement=agreement,
        class_agreement=class_agreement,
        warnings=[*run.warnings, *warnings],
        notes=run.notes,
    )


def _look_at_frozen(
    run: OpenRun, options: HookOptions
) -> tuple[ImagesReport, dict[str, FrozenBankReport]]:
    teacher, data = run.distiller.teacher, run.run
    assert isinstance(teacher, NetworkTeacher)  # who else is frozen
    terms = run.distiller.terms.retrieving
    wanted = max((term.loss.num_positives or 0 for term in terms), default=0)
    pipelines = bank_pipelines(options.bank, data)
    images, taken = (
        bank_images(bank, data, pipelines) for bank in (options.bank, run.options.bank)
    )
    frozen = {}
    for level, bank in teacher.memory.banks.items():
        assert isinstance(bank, MemoryBank)
        sampled = bank.to("cpu")
        capacity = options.bank.capacity(teacher.task.levels[level].capacity)
        size = size_of_whole(sampled, taken, images, capacity)
        if size.is_exact:
            check_present_classes(level, size.rows_per_class, len(images))
        report = report_of(sampled, wanted, options.exclude_same_id)
        complete = report.complete
        if wanted and len(taken) < len(images):
            share = len(taken) / len(images)
            complete = complete_share(size, sampled, share, wanted, options.exclude_same_id)
        frozen[level] = FrozenBankReport(
            size=size,
            sampled=sampled,
            report=report,
            complete=complete,
            wrong_labels=share_of_wrong_labels(sampled, options.exclude_same_id),
        )
    return ImagesReport(len(images), len(taken), describe_pipelines(pipelines)), frozen


def _of_numbers(sizes: Tensor, run: OpenRun) -> list[str]:
    return list(warnings_of_numbers(sizes, run.distiller.terms))


def _names(run: OpenRun) -> list[str]:
    """Of the classes; their numbers where the data set has no names."""
    number = max(run.distiller.teacher.class_counts.values())
    metainfo = getattr(run.run.train_dataset, "metainfo", None) or {}
    return [str(name) for name in metainfo.get("classes") or range(number)]
