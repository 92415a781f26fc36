"""The transforms of the bank: which they are, and where they come from."""

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
    """Two images."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(gt_label=i) for i in range(2)]


class OtherPictures(Pictures):
    """Of another class."""


class Flips:
    """A flip that happens in one of a hundred images, or a draw of another library."""

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


def chosen(val: Any = None, option: Any = None, train: Any = None, **cfg: Any) -> str:
    train = dataset() if train is None else train
    return describe_pipelines(choose_pipelines(option, train, val, cfg))


def test_the_option_comes_first_and_the_line_tells_its_transforms() -> None:
    told = choose_pipelines([load, pack], dataset(), dataset(EVAL), {})[0]
    assert str(told) == "load, pack (bank.pipeline)"
    assert told.transforms(dict(sample_idx=3))["inputs"].unique().tolist() == [3]
    assert chosen(option=pack) == "pack (bank.pipeline)"
    assert chosen(option=[load, Flips(random.random)]) == "load, Flips (bank.pipeline)"


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: RepeatDataset(d, 2)])
def test_the_validation_set_of_the_run(wrap: Any) -> None:
    val = dataset(EVAL)
    found = choose_pipelines(None, wrap(dataset()), ConcatDataset([val]), {})[0]
    assert str(found) == "load, resize, pack (of the validation set)"


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
def test_without_a_validation_set_the_config_is_asked(cfg: dict[str, Any], origin: str) -> None:
    assert chosen(**cfg) == f"load, resize, pack ({origin} of the config)"


def test_a_set_of_the_training_sets_class_is_preferred() -> None:
    other = dataset([load], OtherPictures)
    assert chosen(other, test_dataloader=loader()).endswith("(test_dataloader of the config)")
    cfg = dict(val_dataloader=loader("OtherPictures", [load]), test_dataloader=loader())
    assert chosen(**cfg).endswith("(test_dataloader of the config)")
    # but any that evaluates is better than what training does
    assert "validation set" in chosen(other)


def test_training_without_chance_is_the_last_resort() -> None:
    train = dataset([load, resize, pack])
    found = choose_pipelines(None, train, None, {})[0]
    assert str(found) == "load, resize, pack (of the training set)"
    # what cannot be read is explained when the bank's first image is looked at
    assert chosen(train=dataset([fails])) == "fails (of the training set)"


DRAWS = dict(python=random.random, numpy=lambda: np.random.rand(), torch=lambda: torch.rand(()))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_training_by_chance_is_refused_however_rarely_it_shows(draw: Any) -> None:
    with pytest.raises(ICKDError, match=r"draws random numbers\. Set bank\.pipeline"):
        chosen(train=dataset([load, Flips(draw), pack]))


def test_no_pipeline_at_all() -> None:
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
        chosen(option=option, **cfg)
