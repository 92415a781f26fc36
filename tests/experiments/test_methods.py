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
    made = with_hook(cfg, "teacher.py", tmp_path / "teacher.pth")
    made.custom_hooks.insert(0, dict(type="EMAHook"))
    made.custom_hooks[1].losses = losses
    return made


def names(method: Method) -> list[str]:
    return [one.name for one in method.ranges]


def losses_of(config: str) -> Any:
    return Config.fromfile(config).custom_hooks[1].losses


def test_vanilla_kd_gets_the_same_run_without_the_other_terms(tmp_path: Path) -> None:
    other = dict(type="DISTLoss")
    cfg = hooked(tmp_path, kd=dict(loss_weight=3.0, temperature=2.0), nicd={}, dist=other)
    method, alone = methods(tmp_path, cfg, "optim_wrapper.optimizer.lr=0.5", "randomness.seed=7")
    assert method.name == "kd + picd + nicd + dist" and alone.name == "kd alone"
    assert method.trainee.options == ("optim_wrapper.optimizer.lr=0.5", "randomness.seed=7")
    assert method.ranges[0].key == "custom_hooks.1.losses.kd.loss_weight"
    assert names(alone) == ["kd.loss_weight", "kd.temperature"]
    assert [one.now for one in alone.ranges] == [3.0, 2.0]

    written = Config.fromfile(alone.trainee.config)
    assert [term.name for term in LossTerms.build(written.custom_hooks[1].losses)] == ["kd"]
    assert written.optim_wrapper.optimizer.lr == 0.5 and "work_dir" not in written
    expected = {**method.content, "custom_hooks": None, "work_dir": None}
    assert {**alone.content, "custom_hooks": None, "work_dir": None} == expected


@pytest.mark.parametrize("own", [None, dict(loss_weight=0.0), dict(type="DKDLoss", alpha=2.0)])
def test_where_the_config_has_no_vanilla_kd_the_default_stands_for_it(own: Any, tmp_path) -> None:
    _, alone = methods(tmp_path, hooked(tmp_path, kd=own))
    assert losses_of(alone.trainee.config) == dict(kd={}, picd=None, nicd=None)
    assert [one.now for one in alone.ranges] == [1.0, 4.0]


def test_of_a_segmenter_the_terms_and_values_are_the_tasks(tmp_path: Path) -> None:
    cfg = hooked(tmp_path, segmenter_config(tmp_path / "data", tmp_path / "work"))
    method, alone = methods(tmp_path, cfg)
    assert method.name == "nicd" and method.ranges[0].now == 4.0
    # the weight is searched, and falls as it does without a search
    weight = method.ranges[0].option(2.0)
    found = read_config(method.trainee.config, parse_options([*method.trainee.options, weight]))
    terms = LossTerms.build(found.custom_hooks[-1].losses, SegmentationTask.loss_defaults)
    assert terms["nicd"].schedule == WeightSchedule(2.0, decay="linear")
    assert [(one.name, one.now) for one in alone.ranges] == [
        ("kd.loss_weight", 1.0), ("kd.temperature", 1.0)
    ]  # fmt: skip


def test_a_config_of_vanilla_kd_is_alone(tmp_path: Path) -> None:
    (only,) = methods(tmp_path, hooked(tmp_path, kd={}, picd=None, nicd=None))
    assert only.name == "kd"


def test_ranges_by_hand_are_for_both_where_both_have_them(tmp_path: Path) -> None:
    cfg, lr = hooked(tmp_path), "optim_wrapper.optimizer.lr"
    method, alone = methods(tmp_path, cfg, vary=("nicd.loss_weight=1:3", f"{lr}=0.01:0.1:log"))
    assert names(method) == ["nicd.loss_weight", lr] and names(alone) == [lr]
    method, alone = methods(tmp_path, cfg, vary=("nicd.loss_weight=1:3",))
    assert names(method) == ["nicd.loss_weight"]
    assert names(alone) == ["kd.loss_weight", "kd.temperature"]  # it is searched all the same


def test_a_config_without_a_term_that_counts_has_nothing_to_search(tmp_path: Path) -> None:
    with pytest.raises(ICKDError, match="nothing to search"):
        methods(tmp_path, hooked(tmp_path, kd=None, picd=None, nicd=None))


def test_the_metric_is_that_of_the_evaluator(tmp_path: Path) -> None:
    cfg = classifier_config(tmp_path, tmp_path)
    assert metric_of(cfg) == "accuracy/top1"
    assert metric_of(segmenter_config(tmp_path, tmp_path)) == "mIoU"
    cfg.val_evaluator = [dict(type="mmpretrain.Accuracy")]
    assert metric_of(cfg) == "accuracy/top1"
    cfg.val_evaluator = dict(type="AveragePrecision")
    with pytest.raises(ICKDError, match="AveragePrecision: say by --metric"):
        metric_of(cfg)
    cfg.val_dataloader = None
    with pytest.raises(ICKDError, match="validates on nothing"):
        metric_of(cfg)
