"""``compile`` of mmengine, which compiles ``train_step``: losses stay the same.

All runs but one use dynamo's backend 'eager': it traces, breaks and guards as 'inductor' does in a
tenth of the time, and only this part could be broken by the hook.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch._dynamo.utils import counters

from tests.helpers import toys
from tests.helpers.recorders import replace_method
from tests.helpers.tiny import build, history, run, scalar_names, train
from tests.runs.compatibility import parts  # noqa: F401

STEPS = 8
# weights that change in each step, and a term that starts and ends within the run
LOSSES = dict(
    kd=dict(loss_weight=dict(value=1.0, warmup=6)),
    nicd=dict(loss_weight=dict(value=1.0, begin=2, end=7, decay="cosine")),
)


def small(cfg: Config) -> Config:
    """Set a small backbone, in place."""
    cfg.model.backbone = dict(type="OneConvolution", width=8)
    head = cfg.model.get("head") or cfg.model.decode_head
    head.in_channels = 8
    if "in_index" in head:
        head.in_index = 0
    return cfg


@pytest.fixture(scope="module")
def distilled() -> Config:
    cfg = toys.classifier().student(train_cfg__max_iters=STEPS)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    return toys.classifier().distilled(small(cfg), losses=LOSSES)


class CompileRecorder(Hook):
    """Counts distilled steps; records the number of compiled frames after each step."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.distilled, self.frames = 0, []

    def before_train(self, runner: Runner) -> None:
        replace_method(toys.hook_of(runner).distiller, "step", self._step)

    def _step(self, step: Any, *args: Any) -> Any:
        assert not torch.compiler.is_compiling()
        self.distilled += 1
        return step(*args)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.frames.append(counters["frames"]["total"])


def run_compiled(cfg: Config, **changes: Any) -> tuple[Runner, CompileRecorder]:
    torch._dynamo.reset()
    counters.clear()
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(toys.new_folder())
    cfg.merge_from_dict(changes)
    recorder = CompileRecorder()
    runner = build(cfg, recorder)
    if "strategy" in cfg:  # FlexibleRunner takes compile as an argument only, not from a config
        runner._compile = cfg.compile
    return train(runner), recorder


def assert_same(compiled: Runner, eager: Runner) -> None:
    for name in ("loss", "loss_ce", "loss_kd", "loss_picd", "loss_nicd"):
        assert history(compiled, name) == pytest.approx(history(eager, name), rel=1e-4, abs=1e-7)
    for name, value in eager.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


FLEXIBLE = dict(runner_type="FlexibleRunner", strategy=dict(type="SingleDeviceStrategy"))


@pytest.mark.parametrize("changes", [{}, FLEXIBLE], ids=["Runner", "FlexibleRunner"])
def test_losses_stay_and_steps_are_compiled_once(
    distilled: Config, changes: dict[str, Any]
) -> None:
    eager = run(distilled)
    runner, recorder = run_compiled(distilled, compile=dict(backend="eager"), **changes)
    assert_same(runner, eager)
    assert recorder.distilled == STEPS
    assert recorder.frames[0] > 0, "nothing was compiled"
    # with a weight or a count as a constant of its graph, each step would be compiled again
    assert len(set(recorder.frames[3:])) == 1, recorder.frames


def test_segmenter() -> None:
    toy = toys.segmenter()
    cfg = toy.distilled(small(toy.student(train_cfg__max_iters=4)), level=["pixel", "region"])
    eager = run(cfg)
    runner, recorder = run_compiled(cfg, compile=dict(backend="eager"))
    assert recorder.distilled == 4 and recorder.frames[0] > 0
    names = scalar_names(eager, "loss")
    assert len(names) >= 6
    for name in names:
        assert history(runner, name) == pytest.approx(history(eager, name), rel=1e-3), name


def test_weight_zero_is_the_compiled_run_without_the_hook() -> None:
    toy = toys.classifier()
    plain = small(toy.student(compile=dict(backend="eager")))
    torch._dynamo.reset()
    expected = run(plain)
    torch._dynamo.reset()
    result = run(toy.distilled(plain, losses=toys.OFF))
    assert toys.same_state(result.model.state_dict(), expected.model.state_dict())


def test_inductor(distilled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the value 'default' inductor of torch 2.11 writes code that does not compile.
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    eager = run(distilled)
    runner, recorder = run_compiled(distilled, compile=True)
    assert_same(runner, eager)
    assert recorder.distilled == STEPS
