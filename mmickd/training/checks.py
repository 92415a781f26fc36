"""Checks of student, teacher and data against each other, before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from mmickd.diagnostics.finding import Finding
from mmickd.losses.terms import LossTerms
from mmickd.tasks import Task
from mmickd.utils.errors import ICKDError

MAX_SIZE_RATIO = 1.5
"""Maximum ratio of image sides at which features agree well enough (training at 160 and evaluation
at 224 pixels is usual)."""


def check_batches(batches: int | None, images: int, batch_size: int) -> None:
    """Check that the training loader has a batch; without a batch a run ends before its first step.

    Args:
        batches: Batches of an epoch on this rank; None if their number is unknown.
        images: Number of training images.
        batch_size: Batch size of the training loader.

    Raises:
        ICKDError: If the loader has no batch.
    """
    if batches == 0 and images:
        raise ICKDError(
            f"train_dataloader has no batch: {images} training images are not enough for a batch "
            f"of {batch_size} on every rank, and drop_last=True drops smaller batches. Set "
            "train_dataloader.batch_size lower, or train_dataloader.drop_last=False."
        )


def check_identity(training: Mapping[str, Any], bank: Mapping[str, Any]) -> None:
    """Check that training samples identify their image by the same key as the bank's samples.

    Otherwise no row could be excluded as a row of the query's image.

    Args:
        training: Metainfo of a training sample.
        bank: Metainfo of a sample that the bank is built from, or of an annotation.

    Raises:
        ICKDError: If the training pipeline drops the key.
    """
    for key in ("img_path", "sample_idx"):
        if bank.get(key) is None:
            continue
        if training.get(key) is None:
            raise ICKDError(
                f"the training pipeline drops '{key}', which exclude_same_id=True needs to leave "
                f"out rows of a query's image: add '{key}' to meta_keys of its last transform, "
                "or set exclude_same_id=False."
            )
        return


def check_classes(
    student: int,
    networks: Mapping[str, int],
    teacher_names: tuple[str, ...] | None,
    dataset: Any,
) -> None:
    """Check that student, teacher and data have the same classes in the same order.

    Args:
        student: Number of the student's classes.
        networks: Number of classes of each network of the teacher, by name.
        teacher_names: Names of the classes that the teacher was trained on; None if unknown.
        dataset: The training set.

    Raises:
        ICKDError: With the first class that differs.
    """
    names = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if student < 2:
        raise ICKDError(
            f"the student's classifier layer has {student} output: a softmax over one class is "
            "constant, and nothing can be distilled from it. Use a head with one output per class, "
            "at least two."
        )
    for network, count in networks.items():
        if student != count:
            raise ICKDError(
                f"the student has {student} classes, {network} has {count}: distillation needs "
                "the same classes. Use a teacher trained on the student's classes, or set "
                "num_classes of the head in teacher.cfg."
            )
    if names is not None and len(names) != student:
        raise ICKDError(
            f"the training set has {len(names)} classes, student and teacher have {student}: set "
            "num_classes of the heads, or metainfo.classes of the data set."
        )
    if names is None or teacher_names is None:
        return
    data_order = [str(name).casefold() for name in names]
    teacher_order = [name.casefold() for name in teacher_names]
    if data_order != teacher_order:
        pairs = zip(data_order, teacher_order, strict=False)
        first = next(
            (index for index, (a, b) in enumerate(pairs) if a != b),
            min(len(data_order), len(teacher_order)),
        )
        data_class, teacher_class = (
            f"'{order[first]}'" if first < len(order) else "missing"
            for order in (data_order, teacher_order)
        )
        raise ICKDError(
            f"the teacher's checkpoint was trained on other classes, or on another order of them: "
            f"class {first} is {data_class} in the training set and {teacher_class} in the "
            "teacher. Use a teacher with the classes in the same order."
        )


def early_weight_findings(all_terms: Iterable[LossTerms], lags_student: bool) -> Iterator[Finding]:
    """Yield a finding if a term has its full weight from the first step, and the teacher learns.

    Args:
        all_terms: Terms of the student and of the peers.
        lags_student: True if the teacher lags behind the student, so that vanilla KD is harmful,
            too.
    """
    options = [
        f"{terms.where}.{term.name}.loss_weight"
        for terms in all_terms
        for term in terms
        if term.schedule.starts_full
        and (term.loss.unsafe_before_training or (lags_student and not term.loss.retrieves))
    ]
    if options:
        yield Finding(
            "early_weights",
            "warning",
            f"{' and '.join(options)}: the weight is full from the first step on, when the teacher "
            "is still untrained. On small data this cost 10 points of accuracy and more "
            "(configs/demo/README.md). Increase the weight over a large part of the run: "
            "loss_weight=dict(value=..., warmup=...).",
        )


def mixing_findings(model: nn.Module) -> Iterator[Finding]:
    """Yield a finding if training mixes images (mixup, cutmix), as mixed images are no queries."""
    if getattr(getattr(model, "data_preprocessor", None), "batch_augments", None):
        yield Finding(
            "mixed_images",
            "warning",
            "the data preprocessor mixes images (batch_augments): KD applies to all images, the "
            "in-context terms only to images that are not mixed.",
        )


def image_size_findings(task: Task, training: Tensor, bank: Tensor) -> Iterator[Finding]:
    """Yield a finding if bank and training read whole images in different sizes.

    Args:
        task: Task of student and teacher.
        training: ``(B, 3, h, w)``, inputs of a training batch.
        bank: ``(3, h, w)``, an image that the bank is built from.
    """
    if task.trains_on_crops:
        return
    (h, w), (bank_h, bank_w) = training.shape[-2:], bank.shape[-2:]
    if max(h / bank_h, bank_h / h, w / bank_w, bank_w / w) > MAX_SIZE_RATIO:
        yield Finding(
            "bank_image_size",
            "warning",
            f"the memory bank reads images of {bank_h}x{bank_w} pixels, training reads {h}x{w}: "
            "the features of an image change with its size, so queries may not find similar "
            "images. Set bank.pipeline to transforms that return images of the training size, "
            "which should equal the image size in the teacher's training.",
        )
