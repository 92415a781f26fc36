"""Choice of the bank's transforms."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset

from mmickd.building.pipelines import choose_pipelines, describe_pipelines
from mmickd.utils.errors import ICKDError


def load(results: dict[str, Any]) -> dict[str, Any]:
    return dict(results, img=np.full((4, 4, 3), results["sample_idx"]))


def pack(results: dict[str, Any]) -> dict[str, Any]:
    return dict(inputs=torch.from_numpy(results["img"]), data_samples=None)


def resize(results: dict[str, Any]) -> dict[str, Any]:
    return results


def fails(results: dict[str, Any]) -> dict[str, Any]:
    raise OSError("no such picture")


class Pictures(BaseDataset):
    """Data set of two images."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(gt_label=i) for i in range(2)]


class OtherPictures(Pictures):
    """Data set of another class."""


class Flips:
    """Transform that flips one of a hundred images, by the random numbers of any library."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.draw() < 0.01:
            results["img"] = results["img"][:, ::-1].copy()
        return results


TRAIN, EVAL = [load, Flips(random.random), pack], [load, resize, pack]


def dataset(pipeline: Any = TRAIN, kind: type[Pictures] = Pictures) -> Pictures:
    return kind(pipeline=pipeline)


def loader(kind: Any = "Pictures", pipeline: Any = EVAL, **more: Any) -> dict[str, Any]:
    return dict(dataset=dict(type=kind, pipeline=pipeline, **more))


def choose(val: Any = None, option: Any = None, train: Any = None, **cfg: Any) -> str:
    train = dataset() if train is None else train
    return describe_pipelines(choose_pipelines(option, train, val, cfg))


def test_the_option_comes_first() -> None:
    pipeline = choose_pipelines([load, pack], dataset(), dataset(EVAL), {})[0]
    assert str(pipeline) == "load, pack (bank.pipeline)"
    assert pipeline.transforms(dict(sample_idx=3))["inputs"].unique().tolist() == [3]
    assert choose(option=pack) == "pack (bank.pipeline)"
    assert choose(option=[load, Flips(random.random)]) == "load, Flips (bank.pipeline)"


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: RepeatDataset(d, 2)])
def test_the_validation_set_of_the_run(wrap: Any) -> None:
    val = dataset(EVAL)
    pipeline = choose_pipelines(None, wrap(dataset()), ConcatDataset([val]), {})[0]
    assert str(pipeline) == "load, resize, pack (of the validation set)"


@pytest.mark.parametrize(
    ("cfg", "origin"),
    [
        (dict(val_dataloader=loader(), test_dataloader=loader()), "val_dataloader"),
        (dict(val_dataloader=None, test_dataloader=loader()), "test_dataloader"),
        (dict(test_dataloader=loader("any.Pictures")), "test_dataloader"),
        (dict(test_dataloader=loader(Pictures)), "test_dataloader"),
        (dict(test_dataloader=[loader()]), "test_dataloader"),
        (dict(test_dataloader=dict(dataset=dict(type="Wrap", **loader()))), "test_dataloader"),
        (
            dict(test_dataloader=dict(dataset=dict(type="C", datasets=[loader()["dataset"]]))),
            "test_dataloader",
        ),
        (dict(test_dataloader=loader(pipeline=None), test_pipeline=EVAL), "test_pipeline"),
        (dict(val_pipeline=EVAL, test_pipeline=[load]), "val_pipeline"),
    ],
)
def test_without_a_validation_set_the_config_gives_the_pipeline(
    cfg: dict[str, Any], origin: str
) -> None:
    assert choose(**cfg) == f"load, resize, pack ({origin} of the config)"


def test_a_data_set_of_the_training_set_s_class_is_preferred() -> None:
    other = dataset([load], OtherPictures)
    assert choose(other, test_dataloader=loader()).endswith("(test_dataloader of the config)")
    cfg = dict(val_dataloader=loader("OtherPictures", [load]), test_dataloader=loader())
    assert choose(**cfg).endswith("(test_dataloader of the config)")
    # another class is better than the training pipeline
    assert "validation set" in choose(other)


def test_a_deterministic_training_pipeline_comes_last() -> None:
    train = dataset([load, resize, pack])
    pipeline = choose_pipelines(None, train, None, {})[0]
    assert str(pipeline) == "load, resize, pack (of the training set)"
    # check_first_sample explains the error
    assert choose(train=dataset([fails])) == "fails (of the training set)"


DRAWS = dict(python=random.random, numpy=lambda: np.random.rand(), torch=lambda: torch.rand(()))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_random_training_pipeline_is_refused_however_rare_its_effect(draw: Any) -> None:
    with pytest.raises(ICKDError, match=r"random\. Set bank\.pipeline"):
        choose(train=dataset([load, Flips(draw), pack]))


def test_a_data_set_without_a_pipeline_is_refused() -> None:
    with pytest.raises(ICKDError, match=r"Set bank\.pipeline"):
        choose_pipelines(None, [1, 2, 3], None, {})


@pytest.mark.parametrize(
    ("option", "cfg", "origin"),
    [
        ([dict(type="NoSuchTransform")], {}, "bank.pipeline"),
        (None, dict(test_pipeline=[dict(type="NoSuchTransform")]), "test_pipeline"),
    ],
)
def test_transforms_that_cannot_be_built(option: Any, cfg: Any, origin: str) -> None:
    with pytest.raises(ICKDError, match=rf"\({origin}.* cannot be built .*NoSuchTransform"):
        choose(option=option, **cfg)
