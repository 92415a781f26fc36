"""NaN and Inf: in the outputs of a teacher before training, and in a step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.commands.arguments import run_command
from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.bad_input import assert_stops, changed_checkpoint
from tests.helpers.learning_runs import self_config, stop_message
from tests.helpers.tiny import build, history, run, train, with_teacher


def nan_checkpoint(toy: toys.Toy, key: str) -> str:
    return changed_checkpoint(toy, lambda state: state[key].fill_(torch.nan))


@pytest.mark.parametrize("losses", [toys.KD_ONLY, toys.OFF], ids=["KD alone", "all weights 0"])
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_a_teacher_with_nan_is_refused_for_any_losses(scope: str, losses: Any) -> None:
    toy = toys.toy(scope)
    key = "head.fc.bias" if scope == "mmpretrain" else "decode_head.conv_seg.bias"
    cfg = toy.distilled(losses=losses)
    cfg.custom_hooks[0].teacher.checkpoint = nan_checkpoint(toy, key)
    assert_stops(cfg, "teacher", "NaN or Inf logits", ".png", "checkpoint")


def test_a_past_student_with_inf_is_refused() -> None:
    toy = toys.classifier()
    before = run(toy.student())
    path = toys.new_folder() / "inf.pth"
    state = before.model.state_dict()
    state["backbone.conv1.weight"].fill_(torch.inf)
    torch.save(dict(state_dict=state), path)
    cfg = self_config("mmpretrain", "image", losses=toys.KD_ONLY)
    cfg.custom_hooks[0].teacher = dict(type="SelfTeacher", mode="checkpoint", checkpoint=str(path))
    assert_stops(cfg, "teacher", "NaN or Inf", ".png")


def test_peers_that_start_with_nan_are_refused() -> None:
    toy = toys.classifier()
    peer = toy.cfg.to_dict()
    peer["model"]["head"]["init_cfg"] = dict(type="Constant", layer="Linear", val=float("nan"))
    cfg = with_teacher(toy.student(), dict(type="OnlineTeacher", cfg=peer), losses=toys.KD_ONLY)
    message = stop_message(cfg)
    assert "peer 0" in message and "NaN or Inf logits" in message


@LOSSES.register_module()
class OverflowsIn(BaseLoss):
    """Squared error of the logits that overflows in one step."""

    is_dense = True
    steps = 0

    def __init__(self, bad_step: int = 0) -> None:
        super().__init__()
        self.bad_step = bad_step
        type(self).steps = 0

    def forward(self, queries: Any) -> torch.Tensor:
        type(self).steps += 1
        scale = torch.inf if type(self).steps == self.bad_step else 1.0
        return (queries.student_logits - queries.teacher_logits).square().sum(1) * scale


def overflowing(bad_step: int, scope: str = "mmpretrain", **changes: Any) -> Config:
    toy = toys.toy(scope)
    defaults = dict(train_cfg__max_iters=8, default_hooks__logger__interval=1000)
    cfg = toy.student(**{**defaults, **changes})
    term = dict(type="OverflowsIn", bad_step=bad_step)
    return toy.distilled(cfg, losses=dict(kd=None, picd=None, nicd=None, bad=term))


def assert_overflows(cfg: Config, iteration: int, checkpoints: list[str]) -> tuple[int, str]:
    """Train until the overflow and check what is saved; returns ``runner.iter`` and the message."""
    runner = build(cfg)
    with pytest.raises(ICKDError, match=f"^loss_bad.* in iteration {iteration} ") as error:
        train(runner)
    assert sorted(path.name for path in Path(cfg.work_dir).glob("*.pth")) == checkpoints
    return runner.iter, str(error.value)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_one_bad_step_stops_the_run_at_the_next_log(scope: str) -> None:
    cfg = overflowing(4, scope, default_hooks__logger__interval=3)
    last, message = assert_overflows(cfg, 4, checkpoints=[])
    assert "NaN or Inf" in message and ".png" in message
    assert len(message) < 700
    assert last == 5  # the losses are read at the log of the sixth step


def test_a_student_after_an_overflow_is_never_saved() -> None:
    cfg = overflowing(4, default_hooks__checkpoint__interval=3)
    last, _ = assert_overflows(cfg, 4, checkpoints=["iter_3.pth"])
    assert last == 5
    state = torch.load(Path(cfg.work_dir) / "iter_3.pth", weights_only=False)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_it_is_not_saved_at_the_end_of_a_run_or_of_an_epoch() -> None:
    assert_overflows(overflowing(7), 7, checkpoints=[])
    cfg = overflowing(7)
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3)
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", interval=1, by_epoch=True)
    cfg.log_processor.by_epoch = True
    assert_overflows(cfg, 7, checkpoints=["epoch_1.pth"])


def test_it_is_not_saved_as_the_best_of_validation() -> None:
    cfg = overflowing(3, train_cfg__val_interval=2)
    cfg.default_hooks.checkpoint.save_best = "auto"
    last, _ = assert_overflows(cfg, 3, checkpoints=["best_accuracy_top1_iter_2.pth"])
    assert last == 4


def test_it_is_not_saved_by_a_hook_that_comes_first() -> None:
    cfg = overflowing(2)
    cfg.custom_hooks[0].priority = "LOWEST"  # the checkpoint hook then comes first
    cfg.default_hooks.checkpoint.interval = 3
    assert_overflows(cfg, 2, checkpoints=[])


def test_a_command_ends_with_the_message_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = overflowing(2)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: run(cfg) and None)
    assert stop.value.code == 2
    assert re.search("error: loss_bad .*iteration 2", capsys.readouterr().err)


def test_a_run_without_a_bad_step_ends() -> None:
    runner = run(overflowing(99))
    assert runner.iter == 8 and all(value > 0 for value in history(runner, "loss_bad"))


class TeacherOverflow(Hook):
    """Lets the teacher's classifier overflow in the second iteration."""

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        teacher: Any = toys.hook_of(runner).distiller.teacher
        if runner.iter == 1:
            teacher.model.head.fc.weight.mul_(1e38).mul_(1e38)


def test_a_teacher_that_overflows_after_the_dry_run_stops_the_run() -> None:
    """An image may overflow in half precision where that of the dry run does not."""
    cfg = toys.classifier().distilled(losses=toys.KD_ONLY)
    with pytest.raises(ICKDError, match=r"^loss_kd, teacher_logits .*in iteration 2"):
        run(cfg, TeacherOverflow())
