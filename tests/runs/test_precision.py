"""Autocast, gradient accumulation, and the other runner of mmengine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.helpers import toys
from tests.helpers.tiny import history, run, scalar_names

TERMS = ("loss_kd", "loss_picd", "loss_nicd", "loss")


@pytest.fixture
def amp_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine refuses autocast without a GPU; torch has it on the CPU."""
    module = "mmengine.optim.optimizer.amp_optimizer_wrapper"
    monkeypatch.setattr(f"{module}.is_cuda_available", lambda: True)


def with_optim_wrapper(cfg: Config, **options: Any) -> Config:
    cfg.optim_wrapper.update(options)
    return cfg


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_bf16_autocast_is_near_fp32(scope: str, amp_on_cpu: None) -> None:
    toy = toys.toy(scope)
    level = None if scope == "mmpretrain" else ["pixel", "region"]
    expected = run(toy.distilled(level=level))
    amp = dict(type="AmpOptimWrapper", dtype="bfloat16")
    runner = run(with_optim_wrapper(toy.distilled(level=level), **amp))
    names = scalar_names(runner, "loss")
    assert len(names) >= 5
    for name in names:
        values = history(runner, name)
        assert np.isfinite(values).all()
        # the student of the first step is the same, the logits are rounded to 8 bits
        assert values[0] == pytest.approx(history(expected, name)[0], rel=0.05, abs=0.01), name
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    # the precision of the bank does not follow the student's
    assert "float16 features" in toys.log_of(runner)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_teachers_dtype_is_the_same_for_bank_and_queries(dtype: str) -> None:
    toy = toys.classifier()
    cfg = toy.distilled()
    cfg.custom_hooks[0].teacher.dtype = dtype
    runner = run(cfg)
    reference = run(toy.distilled())
    assert history(runner, "loss_nicd")[0] == pytest.approx(
        history(reference, "loss_nicd")[0], rel=0.05
    )
    assert (history(runner, "loss_nicd") == history(reference, "loss_nicd")) is (dtype == "fp32")


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_gradients_accumulate(scope: str) -> None:
    toy = toys.toy(scope)
    student = toy.student(train_cfg__max_iters=4)
    cfg = with_optim_wrapper(toy.distilled(student), accumulative_counts=2)
    runner = run(cfg)
    assert all(np.isfinite(history(runner, n)).all() for n in TERMS)
    off = with_optim_wrapper(toy.distilled(student, losses=toys.OFF), accumulative_counts=2)
    plain = with_optim_wrapper(student, accumulative_counts=2)
    assert toys.same_state(run(off).model.state_dict(), run(plain).model.state_dict())


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_flexible_runner(scope: str) -> None:
    toy = toys.toy(scope)

    def flexible(cfg: Config) -> Config:
        cfg.runner_type = "FlexibleRunner"
        cfg.strategy = dict(type="SingleDeviceStrategy")
        return cfg

    runner = run(flexible(toy.distilled()))
    for name in TERMS:
        assert all(v > 0 for v in history(runner, name))
    off, plain = run(flexible(toy.distilled(losses=toys.OFF))), run(flexible(toy.student()))
    assert toys.same_state(off.model.state_dict(), plain.model.state_dict())
    assert runner.iter == 3
