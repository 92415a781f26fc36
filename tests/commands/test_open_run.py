"""A run up to its first step."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log

from mmickd.commands.open_run import open_run
from mmickd.registry import HOOKS
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
def test_a_run_is_open_and_nothing_is_trained(data: Path, tmp_path: Path, kind: str) -> None:
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
    assert losses.keys() == {"loss"}, "the student is detached"
    assert not (tmp_path / "work").exists() and cfg.to_dict() == before


def test_findings_and_warnings_of_other_packages_are_kept_apart(data: Path, tmp_path: Path) -> None:
    with open_run(config(data, tmp_path, losses={"nicd": {"num_negatives": 99}})) as run:
        print_log("another package", logger="current", level=logging.WARNING)
        texts = {finding.code: finding.text for finding in run.findings}
        assert "num_negatives=99" in texts["few_negatives"]
        notes = [note.text for note in run.notes]
        assert "another package" in notes and not set(texts.values()) & set(notes)


@HOOKS.register_module()
class CallRecorder(Hook):
    """Hook that records which of its methods are called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def before_train(self, runner: Any) -> None:
        self.calls.append("before_train")

    def before_train_epoch(self, runner: Any) -> None:
        self.calls.append("before_train_epoch")

    def after_run(self, runner: Any) -> None:
        self.calls.append("after_run")


@pytest.mark.parametrize("kind", ["Runner", "FlexibleRunner"])
def test_hooks_are_called_up_to_the_beginning_of_training(
    data: Path, tmp_path: Path, kind: str
) -> None:
    cfg = config(data, tmp_path)
    cfg.runner_type = kind
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="mmickd.CallRecorder")]
    with open_run(cfg) as run:
        recorder = next(hook for hook in run.runner.hooks if isinstance(hook, CallRecorder))
        assert recorder.calls == ["before_train"]


def test_an_error_of_the_run_is_raised(data: Path, tmp_path: Path) -> None:
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


def test_a_sample_is_a_small_bank_that_is_not_cached(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, bank={"cache_dir": str(tmp_path / "cache"), "seed": 3})
    with open_run(cfg, sample=10) as run:
        assert len(run.ready.frozen.samples["image"]) == len(run.ready.images) == 10
        assert run.options.bank.max_images is None and not run.stored
    assert not (tmp_path / "cache").exists()


def test_a_data_set_without_an_image_of_its_suffix_is_reported(tmp_path: Path) -> None:
    cfg = segmenter_config(make_scenes(tmp_path / "scenes"), tmp_path / "work")
    cfg = with_hook(cfg, cfg, save_teacher(cfg, tmp_path / "teacher.pth"))
    cfg.train_dataloader.dataset.img_suffix = ".jpg"
    with pytest.raises(ICKDError, match=r"has no image.*img_suffix"), open_run(cfg):
        pass


def test_class_folders_without_an_image_are_reported(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path)
    (tmp_path / "empty" / "c0").mkdir(parents=True)
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    cfg.train_dataloader.dataset.data_prefix = "empty"
    with pytest.raises(ICKDError, match="has no image"), open_run(cfg):
        pass
