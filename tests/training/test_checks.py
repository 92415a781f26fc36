"""Checks of student, teacher and data against each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmickd.losses.terms import LossTerms
from mmickd.tasks import Task
from mmickd.training.checks import (
    check_batches,
    check_classes,
    check_identity,
    early_weight_findings,
    image_size_findings,
    mixing_findings,
)
from mmickd.utils.errors import ICKDError


def data(*classes: str) -> Any:
    return SimpleNamespace(metainfo=dict(classes=classes))


NAMELESS = SimpleNamespace(), SimpleNamespace(metainfo=None)


def test_a_loader_without_batches() -> None:
    for batches, images in [(1, 18), (None, 18), (0, 0)]:  # an empty set has its own message
        check_batches(batches, images, 64)
    with pytest.raises(ICKDError, match=r"18 training images.* 64 .*batch_size.*drop_last=False"):
        check_batches(0, 18, 64)


@pytest.mark.parametrize("names", [None, ("cat", "dog"), ("Cat", "DOG")])
@pytest.mark.parametrize("dataset", [data("cat", "dog"), data("CAT", "Dog"), *NAMELESS])
def test_classes_that_agree_or_are_not_known(names: Any, dataset: Any) -> None:
    check_classes(2, {"the teacher": 2, "peer 1": 2}, names, dataset)


def test_another_number_of_classes_names_who_has_it() -> None:
    with pytest.raises(ICKDError, match=r"student has 2 classes, peer 1 has 3"):
        check_classes(2, {"peer 0": 2, "peer 1": 3}, None, data("cat", "dog"))
    with pytest.raises(ICKDError, match="training set has 3 classes, student and teacher have 2"):
        check_classes(2, {"the teacher": 2}, None, data("cat", "dog", "fish"))


def test_one_output_is_no_softmax() -> None:
    with pytest.raises(ICKDError, match="has 1 output"):
        check_classes(1, {"the teacher": 1}, None, data("cat"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("dog", "cat"), "class 0 is 'cat' in the training set and 'dog' in the teacher"),
        (("cat", "cow"), "class 1 is 'dog' in the training set and 'cow' in the teacher"),
        (("cat",), "class 1 is 'dog' in the training set and missing in the teacher"),
        (("cat", "dog", "cow"), "class 2 is missing in the training set and 'cow' in"),
    ],
)
def test_the_first_class_that_differs_is_named(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ICKDError, match=words):
        check_classes(2, {}, names, data("cat", "dog"))


@pytest.mark.parametrize(
    ("training", "bank"),
    [
        (dict(img_path="a"), dict(img_path="a")),
        (dict(img_path="a"), dict(img_path="a", sample_idx=3)),  # the path is looked at first
        (dict(sample_idx=3), dict(sample_idx=3)),
        (dict(), dict()),  # images without a name: nothing can be left out anywhere
        (dict(), dict(img_path=None)),
    ],
)
def test_images_that_are_named_alike(training: Any, bank: Any) -> None:
    check_identity(training, bank)


@pytest.mark.parametrize(
    ("training", "bank", "key"),
    [
        (dict(), dict(img_path="a"), "img_path"),
        (dict(sample_idx=3), dict(img_path="a", sample_idx=3), "img_path"),
        (dict(img_path=None), dict(img_path="a"), "img_path"),
        (dict(img_path="a"), dict(sample_idx=3), "sample_idx"),
    ],
)
def test_a_name_that_training_drops_is_refused(training: Any, bank: Any, key: str) -> None:
    with pytest.raises(ICKDError, match=rf"drops '{key}'.*add '{key}' to meta_keys"):
        check_identity(training, bank)


FULL, GROWING = dict(loss_weight=1.0), dict(loss_weight=dict(value=1.0, warmup=5))
LATER, NEVER = dict(loss_weight=dict(value=1.0, begin=5)), dict(loss_weight=0)


def terms(where: str = "losses", **losses: Any) -> LossTerms:
    return LossTerms.build({"kd": None, "picd": None, "nicd": None, **losses}, where=where)


def early_options(*all_terms: LossTerms, lags_student: bool) -> str:
    """Return the options that the finding names; '' if there is no finding."""
    findings = list(early_weight_findings(all_terms, lags_student))
    assert [finding.code for finding in findings] in ([], ["early_weights"])
    return findings[0].text.partition(":")[0] if findings else ""


@pytest.mark.parametrize("lags", [True, False])
@pytest.mark.parametrize("weight", [GROWING, LATER, NEVER])
def test_weights_that_grow_are_not_reported(lags: bool, weight: dict[str, Any]) -> None:
    growing = terms(kd=weight, picd=FULL, nicd=weight)
    assert early_options(growing, lags_student=lags) == ""


def test_full_weights_are_reported_if_the_teacher_is_untrained() -> None:
    full = terms(kd=FULL, nicd=FULL)
    assert early_options(full, lags_student=False) == "losses.nicd.loss_weight"
    both = "losses.kd.loss_weight and losses.nicd.loss_weight"
    assert early_options(full, lags_student=True) == both


def test_kd_at_the_queries_of_a_level_is_reported_as_dense_kd_is() -> None:
    anchors = LossTerms.build(dict(kd=dict(dense=False), picd=None, nicd=None))
    assert early_options(anchors, lags_student=True) == "losses.kd.loss_weight"


def test_terms_of_peers_are_reported_too() -> None:
    peers = terms(where="teacher.losses", nicd=FULL)
    growing = terms(nicd=GROWING)
    assert early_options(growing, peers, lags_student=False) == "teacher.losses.nicd.loss_weight"
    both = "losses.nicd.loss_weight and teacher.losses.nicd.loss_weight"
    assert early_options(terms(nicd=FULL), peers, lags_student=False) == both


@pytest.mark.parametrize(
    ("preprocessor", "codes"),
    [
        (None, []),
        (SimpleNamespace(batch_augments=None), []),
        (SimpleNamespace(batch_augments=[object()]), ["mixed_images"]),
    ],
)
def test_mixed_images_are_reported(preprocessor: Any, codes: list[str]) -> None:
    model: Any = SimpleNamespace(data_preprocessor=preprocessor)
    assert [finding.code for finding in mixing_findings(model)] == codes


class Pictures(Task):
    """Task of whole images."""

    fits = view = has_label = bad_labels = None  # type: ignore[assignment]


class Crops(Pictures):
    trains_on_crops = True


@pytest.mark.parametrize(
    ("task", "training", "bank", "warns"),
    [
        (Pictures, (224, 224), (224, 224), False),
        (Pictures, (160, 160), (224, 224), False),  # the usual recipe of short trainings
        (Pictures, (224, 224), (375, 500), True),  # no Resize, no CenterCrop
        (Pictures, (224, 224), (32, 32), True),
        (Pictures, (64, 64), (64, 128), True),
        (Crops, (512, 512), (1024, 2048), False),
    ],
)
def test_another_size_of_the_banks_images_is_reported(
    task: type[Task], training: Any, bank: Any, warns: bool
) -> None:
    findings = list(
        image_size_findings(task(), torch.empty(2, 3, *training), torch.empty(3, *bank))
    )
    assert [finding.code for finding in findings] == ["bank_image_size"] * warns
    if warns:
        assert f"{bank[0]}x{bank[1]}" in findings[0].text
