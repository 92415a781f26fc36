"""Checks in which student, teacher and data meet, before the first step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmickd.losses.terms import LossTerms
from mmickd.tasks import Task
from mmickd.utils.errors import ICKDError

MOST_ENLARGED = 1.5
"""Ratio of the sides of images up to which features agree well enough (training at 160, evaluation
at 224 pixels is usual)."""


def check_batches(batches: int | None, images: int, batch_size: int) -> None:
    """The training loader must give a batch, or a run ends without a step.

    Args:
        batches: of an epoch, on this rank; None if it is not known.
        images: of the training set.
        batch_size: of the training loader.

    Raises:
        ICKDError: if it gives none.
    """
    if batches == 0 and images:
        raise ICKDError(
            f"train_dataloader gives no batch: of {images} training images, no rank gets the "
            f"{batch_size} of a batch, and drop_last=True drops smaller ones. Set "
            "train_dataloader.batch_size lower, or train_dataloader.drop_last=False."
        )


def check_identity(in_training: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Training samples must name their image as the bank does, or none is left out as its own.

    Args:
        in_training: metainfo of a training sample.
        known: metainfo of a sample that the bank is built from, or what else names an image.

    Raises:
        ICKDError: if the training pipeline drops that.
    """
    for key in ("img_path", "sample_idx"):
        if known.get(key) is None:
            continue
        if in_training.get(key) is None:
            raise ICKDError(
                f"the training pipeline drops '{key}', by which a query's own image is left out "
                f"of its context: add '{key}' to meta_keys of its last transform, or set "
                "exclude_same_id=False."
            )
        return


def check_classes(
    student: int,
    others: Mapping[str, int],
    teacher_names: tuple[str, ...] | None,
    dataset: Any,
) -> None:
    """Student, teacher and data must speak of the same classes, in the same order.

    Args:
        student: classes that it tells apart.
        others: classes that the networks of its teacher tell apart, by their name.
        teacher_names: of the classes that the teacher was trained on, if they are known.
        dataset: the training set.

    Raises:
        ICKDError: with the first class that differs.
    """
    names = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if student < 2:
        raise ICKDError(
            f"the student's classifier layer gives {student} output: a softmax over one class is "
            "constant, and nothing can be distilled from it. Use a head with one output per class, "
            "two at least."
        )
    for owner, count in others.items():
        if student != count:
            raise ICKDError(
                f"the student tells {student} classes apart, {owner} {count}: distillation needs "
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


def warn_of_early_weights(all_terms: Iterable[LossTerms], lags_student: bool) -> None:
    """A teacher that learns knows nothing in the first steps, and is believed all the same.

    Args:
        all_terms: of the student, and of whatever else learns.
        lags_student: of the teacher; then even vanilla KD does harm.
    """
    early = [
        f"{terms.where}.{term.name}.loss_weight"
        for terms in all_terms
        for term in terms
        if term.schedule.starts_full
        and (term.loss.unsafe_before_training or (lags_student and not term.loss.retrieves))
    ]
    if early:
        print_log(
            f"{' and '.join(early)}: full from the first step on, when a teacher that learns knows "
            "nothing. On small data this cost 10 points of accuracy and more "
            "(configs/demo/README.md). Let it grow over a good part of the run: "
            "loss_weight=dict(value=..., warmup=...).",
            logger="current",
            level=logging.WARNING,
        )


def warn_of_mixing(model: nn.Module) -> None:
    """Say once that mixed images (mixup, cutmix) ask no in-context queries."""
    if getattr(getattr(model, "data_preprocessor", None), "batch_augments", None):
        print_log(
            "The data preprocessor mixes images (batch_augments): KD applies to all of them, the "
            "in-context terms to those that come out unmixed.",
            logger="current",
            level=logging.WARNING,
        )


def warn_of_sizes(task: Task, training: Tensor, in_bank: Tensor) -> None:
    """Say if the bank shows whole images in another size than training does.

    Args:
        task: of student and teacher.
        training: inputs of a training batch, ``(B, 3, h, w)``.
        in_bank: an image that the bank is built from, ``(3, h, w)``.
    """
    if task.trains_on_crops:
        return
    (h, w), (bank_h, bank_w) = training.shape[-2:], in_bank.shape[-2:]
    if max(h / bank_h, bank_h / h, w / bank_w, bank_w / w) > MOST_ENLARGED:
        print_log(
            f"The memory bank reads images of {bank_h}x{bank_w} pixels, training shows {h}x{w}: "
            "the features of one image differ with its size, so that queries may not find their "
            "like. Set bank.pipeline to transforms that make images of the training size, which "
            "should be that of the teacher's own training.",
            logger="current",
            level=logging.WARNING,
        )
