"""Student, teacher and data must speak of the same classes and images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mmickd.losses.terms import LossTerms
from mmickd.tasks import Task
from mmickd.training import checks
from mmickd.training.checks import (
    check_batches,
    check_classes,
    check_identity,
    warn_of_early_weights,
    warn_of_mixing,
    warn_of_sizes,
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
    with pytest.raises(ICKDError, match=r"student tells 2 classes apart, peer 1 3: .*same classes"):
        check_classes(2, {"peer 0": 2, "peer 1": 3}, None, data("cat", "dog"))
    with pytest.raises(ICKDError, match="training set has 3 classes, student and teacher have 2"):
        check_classes(2, {"the teacher": 2}, None, data("cat", "dog", "fish"))


def test_one_output_is_no_softmax() -> None:
    with pytest.raises(ICKDError, match="gives 1 output"):
        check_classes(1, {"the teacher": 1}, None, data("cat"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("dog", "cat"), "class 0 is 'cat' in the training set and 'dog' in the teacher"),
        (("cat", "cow"), "class 1 is 'dog' in the training set and 'cow' in the teacher"),
        (("cat",), "class 1 is 'dog' in the training set and 'nothing' in the teacher"),
        (("cat", "dog", "cow"), "class 2 is 'nothing' in the training set and 'cow' in"),
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


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(checks, "print_log", lambda line, **_: lines.append(line))
    return lines


FULL, GROWING = dict(loss_weight=1.0), dict(loss_weight=dict(value=1.0, warmup=5))
LATER, NEVER = dict(loss_weight=dict(value=1.0, begin=5)), dict(loss_weight=0)


def terms(where: str = "losses", **losses: Any) -> LossTerms:
    return LossTerms.build({"kd": None, "picd": None, "nicd": None, **losses}, where=where)


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("weight", [GROWING, LATER, NEVER])
def test_weights_that_grow_are_not_warned_of(
    logged: list[str], behind: bool, weight: dict[str, Any]
) -> None:
    warn_of_early_weights([terms(kd=weight, picd=FULL, nicd=weight)], behind)
    assert logged == []


def test_who_believes_an_untrained_teacher_is_warned_of(logged: list[str]) -> None:
    warn_of_early_weights([terms(kd=FULL, nicd=FULL)], lags_student=False)
    (line,) = logged
    assert line.startswith("losses.nicd.loss_weight: full from the first step on")


def test_behind_the_student_vanilla_kd_is_warned_of_too(logged: list[str]) -> None:
    warn_of_early_weights([terms(kd=FULL, nicd=FULL)], lags_student=True)
    assert logged[0].startswith("losses.kd.loss_weight and losses.nicd.loss_weight: full from")


def test_vanilla_kd_at_the_queries_of_a_level_is_no_other(logged: list[str]) -> None:
    anchors_alone = LossTerms.build(dict(kd=dict(dense=False), picd=None, nicd=None))
    warn_of_early_weights([anchors_alone], lags_student=True)
    assert logged[0].startswith("losses.kd.loss_weight: full from")


def test_all_that_learn_are_looked_at_in_one_warning(logged: list[str]) -> None:
    peers = terms(where="teacher.losses", nicd=FULL)
    warn_of_early_weights([terms(nicd=GROWING), peers], lags_student=False)
    warn_of_early_weights([terms(nicd=FULL), peers], lags_student=False)
    assert logged[0].startswith("teacher.losses.nicd.loss_weight: full from")
    both = "losses.nicd.loss_weight and teacher.losses.nicd.loss_weight: full from"
    assert logged[1].startswith(both) and len(logged) == 2


def test_mixed_images_are_told_of_once_a_run(logged: list[str]) -> None:
    plain, mixing = nn.Module(), nn.Module()
    for model, augments in ((plain, None), (mixing, [object()])):
        model.data_preprocessor = nn.Module()
        model.data_preprocessor.batch_augments = augments
    for model in (plain, nn.Module()):
        warn_of_mixing(model)
    assert logged == []
    warn_of_mixing(mixing)
    assert len(logged) == 1 and "(batch_augments)" in logged[0]


class Pictures(Task):
    """Whole images."""

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
def test_a_bank_of_images_of_another_size_is_warned_of(
    logged: list[str], task: type[Task], training: Any, bank: Any, warns: bool
) -> None:
    warn_of_sizes(task(), torch.empty(2, 3, *training), torch.empty(3, *bank))
    assert len(logged) == warns
    if warns:
        assert f"images of {bank[0]}x{bank[1]} pixels, training shows" in logged[0]
