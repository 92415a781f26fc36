"""Checks in which student, teacher and data meet, before the first step."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from mmickd.losses.terms import LossTerms
from mmickd.taps import Tap, Tapped, evaluating, find_classifier
from mmickd.tasks import BaseTask
from mmickd.teachers import BaseTeacher
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import is_sharded


def probe_teacher(teacher: BaseTeacher, task: BaseTask, sample: dict[str, Any]) -> Tapped:
    """Run the teacher on one packed sample, and let the task adapter read it.

    Returns:
        What the teacher gave.

    Raises:
        ICKDError: if its classifier layer is not found, or it cannot run on such an image.
    """
    remedy = (
        "Use a teacher for such images, or set bank.pipeline to transforms that make images of its "
        "size."
    )
    with explained("the teacher", sample, remedy):
        inputs = teacher.preprocess(batch_of(sample))
        tapped = teacher.probe(inputs)
        task.view(tapped, [sample["data_samples"]], (inputs.shape[2], inputs.shape[3]))
    return tapped


@contextmanager
def explained(owner: str, sample: dict[str, Any], remedy: str) -> Iterator[None]:
    """Say what is wrong if a network cannot run on a packed sample.

    Raises:
        ICKDError: for whatever the network raises inside.
    """
    try:
        yield
    except ICKDError:
        raise
    except Exception as error:  # whatever a network raises on an input that it cannot take
        shape = "x".join(str(n) for n in sample["inputs"].shape[-2:])
        raise ICKDError(
            f"{owner} cannot run on a training image of {shape} pixels "
            f"({type(error).__name__}: {str(error)[:200]}). {remedy}"
        ) from error


def check_identity(train_dataset: Any, sample: dict[str, Any]) -> None:
    """Training samples must name their image as the bank does, or none is left out as its own.

    Args:
        train_dataset: the live training set.
        sample: a sample that the bank is built from.

    Raises:
        ICKDError: if the training pipeline drops what the bank's pipeline keeps.
    """
    own = train_dataset[0]  # of the wrapper, if there is one: MultiImageMixDataset packs there
    if own is None:  # mmseg and mmpretrain then take another image; which, is left to chance
        return
    in_training = own["data_samples"].metainfo
    for key in ("img_path", "sample_idx"):
        if sample["data_samples"].metainfo.get(key) is None:
            continue
        if in_training.get(key) is None:
            raise ICKDError(
                f"the training pipeline drops '{key}', by which a query's own image is left out "
                f"of its context: add '{key}' to meta_keys of its last transform, or set "
                "exclude_same_id=False."
            )
        return


def batch_of(sample: dict[str, Any]) -> dict[str, Any]:
    """One packed sample as a collated batch; preprocessors may change it, so it is a copy."""
    return {
        "inputs": [sample["inputs"].clone()],
        "data_samples": [copy.deepcopy(sample["data_samples"])],
    }


def probe_student(
    model: nn.Module,
    layer: str,
    sample: dict[str, Any],
    owner: str = "student",
    option: str = "layer",
) -> tuple[str, int]:
    """Name and width of a training network's classifier layer, after one pass of it in eval.

    A sharded model (FSDP) cannot run from here: it gets by with the usual names, or an explicit
    one.
    """
    sharded = is_sharded(model)

    def run() -> Any:
        if sharded:
            raise ICKDError(
                "the student is sharded (FSDP), so it cannot run once to find its classifier layer "
                "before training: set the hook's layer to the layer that gives the logits."
            )
        data = model.data_preprocessor(batch_of(sample), False)  # type: ignore[operator]
        values = data if isinstance(data, Mapping) else {"inputs": data[0]}
        return model(values["inputs"], mode="tensor")

    if layer == "auto":
        layer = find_classifier(model, run, owner, option)
    tap = Tap(model, layer)
    try:
        if not sharded:
            _run_in_eval(model, run, tap, owner, option)
        return layer, tap.num_classes
    finally:
        tap.close()


def _run_in_eval(model: nn.Module, run: Any, tap: Tap, owner: str, option: str) -> Tapped:
    tap.arm()
    with evaluating(model), torch.no_grad():
        run()
    tapped = tap.take()
    if tapped is None:
        raise ICKDError(
            f"the {owner}'s layer '{tap.layer}' does not run in its forward pass. Set {option} to "
            "the layer that gives the logits."
        )
    return tapped


def check_classes(
    student: int,
    teacher: int,
    teacher_names: tuple[str, ...] | None,
    dataset: Any,
    owner: str = "the teacher",
) -> None:
    """Student, teacher and data must speak of the same classes, in the same order."""
    names = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if student != teacher:
        remedy = (
            "Use a teacher trained on the student's classes."
            if owner == "the teacher"
            else "Set num_classes of the head in teacher.cfg."
        )
        raise ICKDError(
            f"the student tells {student} classes apart, {owner} {teacher}: distillation needs "
            f"the same classes. {remedy}"
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


def warn_of_early_weights(terms: LossTerms, names: Iterable[str], option: str = "losses") -> None:
    """A teacher that learns knows nothing in the first steps, and is believed all the same.

    Args:
        terms: the losses.
        names: of the terms that do harm then.
        option: the option's name.
    """
    early = [n for n in names if n in terms and terms.schedules[n].starts_full]
    if early:
        options = " and ".join(f"{option}.{name}.loss_weight" for name in early)
        print_log(
            f"{options}: full from the first step on, when a teacher that learns knows nothing. On "
            "small data this cost 10 points of accuracy and more (configs/demo/README.md). Let it "
            "grow over a good part of the run: loss_weight=dict(value=..., warmup=...).",
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
