"""NaN and Inf are refused before training, and reported in it by iteration, name and image."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine import dist

from mmickd.networks.nan_guard import STEPS_KEPT, NanGuard, check_finite
from mmickd.structures import Tapped
from mmickd.utils.errors import ICKDError
from tests.helpers.ranks import on_ranks


def sample(path: str | None, index: int = 0) -> Any:
    return SimpleNamespace(metainfo=dict(img_path=path, sample_idx=index))


def step(guard: NanGuard, iteration: int, *images: str, **values: float) -> None:
    guard.begin_step(iteration, [sample(name) for name in images])
    guard.note({name: torch.tensor(value) for name, value in values.items()})


def message(guard: NanGuard, **options: bool) -> str:
    with pytest.raises(ICKDError) as caught:
        guard.check(**options)
    return str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_iteration_counts(value: float) -> None:
    guard = NanGuard()
    step(guard, 0, "a", kd=1.0, nicd=2.0)
    guard.check()
    step(guard, 1, "b", kd=1.0, nicd=2.0)
    step(guard, 2, "c", "d", kd=1.0, nicd=value)
    step(guard, 3, "e", kd=value, nicd=value)
    step(guard, 4, "f", kd=1.0, nicd=2.0)  # finite again
    text = message(guard)
    assert text.startswith("nicd not finite (NaN or Inf) in iteration 3 (images: c, d). ")
    assert "teacher.dtype" in text and "clip_grad" in text and len(text) < 600


def test_losses_that_begin_later_are_checked_too() -> None:
    guard = NanGuard()
    step(guard, 0, "a", kd=1.0)
    step(guard, 1, "b", kd=1.0, nicd=math.nan)
    assert message(guard).startswith("nicd not finite (NaN or Inf) in iteration 2 (images: b)")


def test_only_some_images_are_named_and_old_names_are_dropped() -> None:
    guard = NanGuard()
    step(guard, 0, *(f"{i}" for i in range(20)), kd=math.nan)
    assert "(images: 0, 1, 2, 3, 4, 5, 6, 7, 12 more)" in message(guard)
    for iteration in range(1, STEPS_KEPT + 1):
        step(guard, iteration, "z", kd=1.0)
    assert message(guard).startswith("kd not finite (NaN or Inf) in iteration 1. ")


def test_a_step_without_values_passes() -> None:
    guard = NanGuard()
    guard.begin_step(0, [sample("a")])
    guard.note({})
    guard.check()


def check_on_rank() -> str:
    rank = dist.get_rank()
    guard = NanGuard()
    step(guard, 4, f"a{rank}", kd=1.0, nicd=1.0)
    step(guard, 5, f"b{rank}", kd=math.nan if rank else 1.0, nicd=1.0)
    step(guard, 6, f"c{rank}", kd=math.nan, nicd=math.nan)
    return message(guard)


def test_all_ranks_raise_with_the_images_of_the_rank_with_nan() -> None:
    first, second = on_ranks(2, check_on_rank)
    assert first == second
    assert first.startswith("kd not finite (NaN or Inf) in iteration 6 (images: b1). ")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["features", "logits"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)])
def test_a_network_with_nan_outputs_is_refused(
    field: str, value: float, shape: tuple[int, ...]
) -> None:
    tapped = Tapped(torch.zeros(shape), torch.zeros(shape, dtype=torch.half))
    samples = [sample("a.png"), sample("b.png"), sample(None, 7)]
    check_finite(tapped, samples, "the teacher")
    getattr(tapped, field)[1, 2] = value
    with pytest.raises(ICKDError, match=rf"^peer 1 outputs NaN or Inf {field} for b\.png\. Fix"):
        check_finite(tapped, samples, "peer 1", "Fix.")
    getattr(tapped, field)[1, 2] = 0
    getattr(tapped, field)[2, 0] = value
    with pytest.raises(ICKDError, match="for sample 7"):
        check_finite(tapped, samples, "the teacher")
