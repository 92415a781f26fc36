"""The method of a config, and vanilla KD alone beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmickd.commands.arguments import read_config
from mmickd.experiments.methods import Method, metric_of, read_methods
from mmickd.losses.schedules import WeightSchedule
from mmickd.losses.terms import LossTerms
from mmickd.tasks import SegmentationTask
from mmickd.utils.config import parse_options
from mmickd.utils.errors import ICKDError
from tests.helpers.tiny import classifier_config, segmenter_config, with_hook


def methods(tmp_path: Path, cfg: Config, *options: str, vary: tuple[str, ...] = ()) -> list[Method]:
    file = tmp_path / "config.py"
    cfg.dump(file)
    cfg = read_config(str(file), parse_options(options))
    return read_methods(cfg, options, vary, tmp_path / "out")


def hooked(tmp_path: Path, cfg: Config | None = None, **losses: Any) -> Config:
    cfg = cfg or classifier_config(tmp_path / "data", tmp_path / "work")
    hooked_cfg = with_hook(cfg, "teacher.py", tmp_path / "teacher.pth")
    hooked_cfg.custom_hooks.insert(0, dict(type="EMAHook"))
    hooked_cfg.custom_hooks[1].losses = losses
    return hooked_cfg


def names(method: Method) -> list[str]:
    return [r.name for r in method.ranges]


def losses_of(config: str) -> Any:
    return Config.fromfile(config).custom_hooks[1].losses


def test_vanilla_kd_gets_the_same_run_without_the_other_terms(tmp_path: Path) -> None:
    cfg = hooked(
        tmp_path, kd=dict(loss_weight=3.0, temperature=2.0), nicd={}, dist=dict(type="DISTLoss")
    )
    method, alone = methods(tmp_path, cfg, "optim_wrapper.optimizer.lr=0.5", "randomness.seed=7")
    assert method.name == "kd + picd + nicd + dist" and alone.name == "kd alone"
    assert method.entry.options == ("optim_wrapper.optimizer.lr=0.5", "randomness.seed=7")
    assert method.ranges[0].key == "custom_hooks.1.losses.kd.loss_weight"
    assert names(alone) == ["kd.loss_weight", "kd.temperature"]
    assert [r.now for r in alone.ranges] == [3.0, 2.0]

    written = Config.fromfile(alone.entry.config)
    assert [term.name for term in LossTerms.build(written.custom_hooks[1].losses)] == ["kd"]
    assert written.optim_wrapper.optimizer.lr == 0.5 and "work_dir" not in written
    expected = {**method.content, "custom_hooks": None, "work_dir": None}
    assert {**alone.content, "custom_hooks": None, "work_dir": None} == expected


@pytest.mark.parametrize("kd", [None, dict(loss_weight=0.0), dict(type="DKDLoss", alpha=2.0)])
def test_where_the_config_has_no_vanilla_kd_the_default_stands_for_it(kd: Any, tmp_path) -> None:
    _, alone = methods(tmp_path, hooked(tmp_path, kd=kd))
    assert losses_of(alone.entry.config) == dict(kd={}, picd=None, nicd=None)
    assert [r.now for r in alone.ranges] == [1.0, 4.0]


def test_of_a_segmenter_the_terms_and_values_are_the_tasks(tmp_path: Path) -> None:
    cfg = hooked(tmp_path, segmenter_config(tmp_path / "data", tmp_path / "work"))
    method, alone = methods(tmp_path, cfg)
    assert method.name == "kd + picd + nicd"
    # the weight of NICD is searched, and falls as it does without a search
    (falling,) = [r for r in method.ranges if r.name == "nicd.loss_weight"]
    assert falling.now == 4.0
    weight = falling.option(2.0)
    cfg = read_config(method.entry.config, parse_options([*method.entry.options, weight]))
    terms = LossTerms.build(cfg.custom_hooks[-1].losses, SegmentationTask.loss_defaults)
    assert terms["nicd"].schedule == WeightSchedule(2.0, decay="linear")
    assert [(r.name, r.now) for r in alone.ranges] == [
        ("kd.loss_weight", 1.0), ("kd.temperature", 4.0)
    ]  # fmt: skip


def test_a_config_of_vanilla_kd_is_alone(tmp_path: Path) -> None:
    (only,) = methods(tmp_path, hooked(tmp_path, kd={}, picd=None, nicd=None))
    assert only.name == "kd"


def test_vary_is_for_both_methods_where_both_have_the_option(tmp_path: Path) -> None:
    cfg, lr = hooked(tmp_path), "optim_wrapper.optimizer.lr"
    method, alone = methods(tmp_path, cfg, vary=("nicd.loss_weight=1:3", f"{lr}=0.01:0.1:log"))
    assert names(method) == ["nicd.loss_weight", lr] and names(alone) == [lr]
    method, alone = methods(tmp_path, cfg, vary=("nicd.loss_weight=1:3",))
    assert names(method) == ["nicd.loss_weight"]
    assert names(alone) == ["kd.loss_weight", "kd.temperature"]  # searched as without --vary


def test_a_config_without_an_active_term_has_nothing_to_search(tmp_path: Path) -> None:
    with pytest.raises(ICKDError, match="nothing to search"):
        methods(tmp_path, hooked(tmp_path, kd=None, picd=None, nicd=None))


def test_a_config_without_the_hook_is_reported(tmp_path: Path) -> None:
    cfg = classifier_config(tmp_path / "data", tmp_path / "work")
    assert "custom_hooks" not in cfg
    with pytest.raises(ICKDError, match="no entries of ICKDHook"):
        methods(tmp_path, cfg)


def test_the_metric_is_that_of_the_evaluator(tmp_path: Path) -> None:
    cfg = classifier_config(tmp_path, tmp_path)
    assert metric_of(cfg) == "accuracy/top1"
    assert metric_of(segmenter_config(tmp_path, tmp_path)) == "mIoU"
    cfg.val_evaluator = [dict(type="mmpretrain.Accuracy")]
    assert metric_of(cfg) == "accuracy/top1"
    cfg.val_evaluator = dict(type="AveragePrecision")
    with pytest.raises(ICKDError, match=r"AveragePrecision.*--metric"):
        metric_of(cfg)
    cfg.val_dataloader = None
    with pytest.raises(ICKDError, match="val_dataloader"):
        metric_of(cfg)
