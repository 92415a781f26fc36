"""A run up to its first step."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import print_log

from mmickd.commands.open_run import open_run
from mmickd.hooks.entries import set_hook_options
from mmickd.utils.errors import ICKDError
from tests.helpers.tiny import (
    classifier_config,
    make_class_folders,
    make_scenes,
    save_teacher,
    segmenter_config,
    with_hook,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_class_folders(tmp_path_factory.mktemp("folders"))


def config(data: Path, tmp_path: Path, **options: Any) -> Config:
    cfg = classifier_config(data, tmp_path / "work")
    options = {"bank": {"cache_dir": None}, **options}
    return with_hook(cfg, cfg, save_teacher(cfg, tmp_path / "teacher.pth"), **options)


@pytest.mark.parametrize("kind", ["Runner", "FlexibleRunner"])
def test_everything_is_there_and_nothing_is_trained(data: Path, tmp_path: Path, kind: str) -> None:
    cfg = config(data, tmp_path)
    if kind == "FlexibleRunner":
        cfg.runner_type = kind
    before = cfg.to_dict()
    with open_run(cfg) as run:
        loader = run.runner.train_dataloader
        batch = run.student.data_preprocessor(next(iter(loader)), True)
        run.student.train()
        losses = run.student(**batch, mode="loss")
        assert {"loss_ce", "loss_kd", "loss_picd", "loss_nicd"} <= losses.keys()
        assert run.runner.iter == 0
        assert len(run.distiller.teacher.memories["teacher"].banks["image"]) == len(loader.dataset)
    losses = run.student(**batch, mode="loss")
    assert losses.keys() == {"loss"}, "the student is as it was"
    assert not (tmp_path / "work").exists() and cfg.to_dict() == before


def test_warnings_are_kept(data: Path, tmp_path: Path) -> None:
    with open_run(config(data, tmp_path, losses={"nicd": {"num_negatives": 99}})) as run:
        assert any("num_negatives=99" in warning for warning in run.warnings)
        print_log("of somebody else", logger="current", level=logging.WARNING)
        assert "of somebody else" in run.notes and "of somebody else" not in run.warnings


def test_what_stops_the_run_stops_it(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "teacher.pth")
    with pytest.raises(ICKDError, match="teacher"), open_run(cfg):
        pass


@pytest.mark.parametrize("count", [0, 2])
def test_one_hook_is_needed(data: Path, tmp_path: Path, count: int) -> None:
    cfg = config(data, tmp_path)
    cfg.custom_hooks = list(cfg.custom_hooks) * count
    with pytest.raises(ICKDError, match="exactly one"), open_run(cfg):
        pass


def test_options_of_the_hook_are_changed_by_group(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, bank={"cache_dir": None, "seed": 3})
    set_hook_options(cfg, bank={"max_images": 10}, retriever={"type": "RandomRetriever"})
    entry = cfg.custom_hooks[0]
    assert entry["bank"] == {"cache_dir": None, "seed": 3, "max_images": 10}
    with open_run(cfg) as run:
        assert len(run.distiller.teacher.memories["teacher"].banks["image"]) == 10


def test_a_config_that_was_copied_keeps_its_options(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, bank={"seed": 3})
    before, changed = copy.deepcopy(cfg.to_dict()), cfg.copy()
    set_hook_options(changed, bank={"max_images": 10})
    assert changed.custom_hooks[0]["bank"] == {"seed": 3, "max_images": 10}
    assert cfg.to_dict() == before


def test_a_data_set_without_an_image_of_its_suffix_is_told(tmp_path: Path) -> None:
    cfg = segmenter_config(make_scenes(tmp_path / "scenes"), tmp_path / "work")
    cfg = with_hook(cfg, cfg, save_teacher(cfg, tmp_path / "teacher.pth"))
    cfg.train_dataloader.dataset.img_suffix = ".jpg"
    with pytest.raises(ICKDError, match=r"finds no image.*img_suffix"), open_run(cfg):
        pass
