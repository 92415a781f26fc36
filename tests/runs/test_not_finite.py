"""NaN and Inf in runs: of a teacher at the start, and of a step in the middle."""

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
from tests.helpers.bad_input import assert_stops, state_of
from tests.helpers.learning_runs import self_taught, stopped
from tests.helpers.tiny import build, history, plain_config_text, run


def sick(toy: toys.Toy, key: str) -> str:
    return state_of(toy, lambda state: state[key].fill_(torch.nan))


@pytest.mark.parametrize("losses", [toys.KD_ONLY, toys.OFF], ids=["KD alone", "all weights 0"])
@pytest.mark.parametrize("scope", toys.SCOPES)
def test_a_sick_teacher_is_refused_whatever_the_losses_are(scope: str, losses: Any) -> None:
    toy = toys.toy(scope)
    key = "head.fc.bias" if scope == "mmpretrain" else "decode_head.conv_seg.bias"
    cfg = toy.distilled(losses=losses)
    cfg.custom_hooks[0].teacher.checkpoint = sick(toy, key)
    assert_stops(cfg, "the teacher gives NaN or Inf logits for", ".png", "checkpoint")


def test_a_sick_past_of_the_student_is_refused() -> None:
    toy = toys.classifier()
    before = run(toy.student())
    path = toys.new_folder() / "sick.pth"
    state = before.model.state_dict()
    state["backbone.conv1.weight"].fill_(torch.inf)
    torch.save(dict(state_dict=state), path)
    cfg = self_taught("mmpretrain", "image", losses=toys.KD_ONLY)
    cfg.custom_hooks[0].teacher = dict(type="SelfTeacher", mode="checkpoint", checkpoint=str(path))
    assert_stops(cfg, "the teacher gives NaN or Inf", ".png")


def test_peers_that_begin_sick_are_refused() -> None:
    toy = toys.classifier()
    peer = toy.cfg.to_dict()
    peer["model"]["head"]["init_cfg"] = dict(type="Constant", layer="Linear", val=float("nan"))
    cfg = toy.student()
    teacher = dict(type="OnlineTeacher", cfg=peer)
    cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=teacher, losses=toys.KD_ONLY)]
    assert "peer 0 gives NaN or Inf logits for" in stopped(cfg)


@LOSSES.register_module()
class OverflowsIn(BaseLoss):
    """KD that overflows in one step alone."""

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
    quiet = dict(train_cfg__max_iters=8, default_hooks__logger__interval=1000)
    cfg = toy.student(**{**quiet, **changes})
    term = dict(type="OverflowsIn", bad_step=bad_step)
    return toy.distilled(cfg, losses=dict(kd=None, picd=None, nicd=None, sick=term))


def trained(cfg: Config) -> tuple[Any, str]:
    runner = build(cfg)
    with pytest.raises(ICKDError) as caught, plain_config_text():
        runner.train()
    return runner, str(caught.value)


def saved(cfg: Config) -> list[str]:
    return sorted(path.name for path in Path(cfg.work_dir).glob("*.pth"))


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_one_bad_step_stops_the_run_at_the_next_log(scope: str) -> None:
    cfg = overflowing(4, scope, default_hooks__logger__interval=3)
    runner, said = trained(cfg)
    assert re.match(r"loss_sick not finite \(NaN or Inf\) in iteration 4 \(images: .*\.png", said)
    assert len(said) < 700
    assert runner.iter == 5  # the sixth step was looked at
    assert saved(cfg) == []


def test_a_ruined_student_is_never_saved() -> None:
    cfg = overflowing(4, default_hooks__checkpoint__interval=3)
    runner, said = trained(cfg)
    assert "in iteration 4" in said and runner.iter == 5
    assert saved(cfg) == ["iter_3.pth"]
    state = torch.load(Path(cfg.work_dir) / "iter_3.pth", weights_only=False)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_nor_at_the_end_of_a_run_or_of_an_epoch() -> None:
    cfg = overflowing(7)
    assert "in iteration 7" in trained(cfg)[1]
    assert saved(cfg) == []
    cfg = overflowing(7)
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3)
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", interval=1, by_epoch=True)
    cfg.log_processor.by_epoch = True
    assert "in iteration 7" in trained(cfg)[1]
    assert saved(cfg) == ["epoch_1.pth"]


def test_nor_as_the_best_of_validation() -> None:
    cfg = overflowing(3, train_cfg__val_interval=2)
    cfg.default_hooks.checkpoint.save_best = "auto"
    runner, said = trained(cfg)
    assert "in iteration 3" in said and runner.iter == 4
    assert all("iter_4" not in name for name in saved(cfg))


def test_nor_by_somebody_else() -> None:
    cfg = overflowing(2)
    cfg.custom_hooks[0].priority = "LOWEST"  # checkpoints are then saved before our look
    cfg.default_hooks.checkpoint.interval = 3
    assert "in iteration 2" in trained(cfg)[1]
    assert saved(cfg) == []


def test_a_command_ends_with_the_message_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = overflowing(2)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run(cfg) and None)
    assert ended.value.code == 2
    assert "error: loss_sick not finite (NaN or Inf) in iteration 2" in capsys.readouterr().err


def test_a_run_without_a_bad_step_ends() -> None:
    runner = run(overflowing(99))
    assert runner.iter == 8 and all(value > 0 for value in history(runner, "loss_sick"))


def test_a_teacher_that_overflows_later_stops_the_run() -> None:
    """As in half precision, on a picture that is not that of the probe."""
    runner = build(toys.classifier().distilled(losses=toys.KD_ONLY))
    runner.register_hook(Overflow())
    said = r"^loss_kd, teacher_logits not finite .* in iteration 2"
    with pytest.raises(ICKDError, match=said), plain_config_text():
        runner.train()


class Overflow(Hook):
    """Lets the teacher's classifier overflow in the second iteration."""

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        teacher: Any = toys.hook_of(runner).distiller
        if runner.iter == 1:
            teacher.teacher.model.head.fc.weight.mul_(1e38).mul_(1e38)
