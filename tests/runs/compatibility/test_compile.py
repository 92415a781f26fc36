"""``compile`` of mmengine, which compiles ``train_step``: the steps stay the same, each distilled.

The backend is dynamo's 'eager' but for one run: it traces, breaks and guards as 'inductor' does, in
a tenth of the time, and what the hook could break is there.
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
from tests.helpers.tiny import build, history, plain_config_text, run
from tests.runs.compatibility import parts  # noqa: F401

STEPS = 8
# weights that change at each step, and a term that comes and goes
LOSSES = dict(
    kd=dict(loss_weight=dict(value=1.0, warmup=6)),
    nicd=dict(loss_weight=dict(value=1.0, begin=2, end=7, decay="cosine")),
)


def small(cfg: Config) -> Config:
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


class Watch(Hook):
    """Counts distilled steps and compiled frames after each step."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.distilled, self.frames = 0, []

    def before_train(self, runner: Runner) -> None:
        distiller = toys.hook_of(runner).distiller
        step = distiller.step

        def spy(*args: Any) -> Any:
            assert not torch.compiler.is_compiling()
            self.distilled += 1
            return step(*args)

        distiller.step = spy

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.frames.append(counters["frames"]["total"])


def watched(cfg: Config, **changes: Any) -> tuple[Runner, Watch]:
    torch._dynamo.reset()
    counters.clear()
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(toys.new_folder())
    cfg.merge_from_dict(changes)
    runner, watch = build(cfg), Watch()
    if "strategy" in cfg:  # FlexibleRunner takes compile as an argument only, not from a config
        runner._compile = cfg.compile
    runner.register_hook(watch)
    with plain_config_text():
        runner.train()
    return runner, watch


def assert_same(compiled: Runner, eager: Runner) -> None:
    for name in ("loss", "loss_ce", "loss_kd", "loss_picd", "loss_nicd"):
        assert history(compiled, name) == pytest.approx(history(eager, name), rel=1e-4, abs=1e-7)
    for name, value in eager.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


FLEXIBLE = dict(runner_type="FlexibleRunner", strategy=dict(type="SingleDeviceStrategy"))


@pytest.mark.parametrize("changes", [{}, FLEXIBLE], ids=["Runner", "FlexibleRunner"])
def test_steps_are_the_same_and_compiled_once(distilled: Config, changes: dict[str, Any]) -> None:
    eager = run(distilled)
    runner, watch = watched(distilled, compile=dict(backend="eager"), **changes)
    assert_same(runner, eager)
    assert watch.distilled == STEPS
    assert watch.frames[0] > 0, "nothing was compiled"
    # a weight or a count that is a constant of a graph would be compiled again at each step
    assert len(set(watch.frames[3:])) == 1, watch.frames


def test_segmenter() -> None:
    toy = toys.segmenter()
    cfg = toy.distilled(small(toy.student(train_cfg__max_iters=4)), level=["pixel", "region"])
    eager = run(cfg)
    runner, watch = watched(cfg, compile=dict(backend="eager"))
    assert watch.distilled == 4 and watch.frames[0] > 0
    names = [n.removeprefix("train/") for n in eager.message_hub.log_scalars if "loss" in n]
    assert len(names) >= 6
    for name in names:
        assert history(runner, name) == pytest.approx(history(eager, name), rel=1e-3), name


def test_weight_zero_is_the_compiled_run_without_the_hook() -> None:
    toy = toys.classifier()
    plain = small(toy.student(compile=dict(backend="eager")))
    torch._dynamo.reset()
    wanted = run(plain)
    torch._dynamo.reset()
    found = run(toy.distilled(plain, losses=toys.OFF))
    assert toys.same_state(dict(found.model.state_dict()), dict(wanted.model.state_dict()))


@pytest.mark.slow
def test_inductor(distilled: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the value 'default' inductor of torch 2.11 writes code that does not compile.
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    eager = run(distilled)
    runner, watch = watched(distilled, compile=True)
    assert_same(runner, eager)
    assert watch.distilled == STEPS
