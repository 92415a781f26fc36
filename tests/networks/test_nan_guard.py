"""NaN and Inf are refused before training, and found in it by iteration, name and image."""

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


def step(watch: NanGuard, iteration: int, *images: str, **values: float) -> None:
    watch.begin_step(iteration, [sample(name) for name in images])
    watch.note({name: torch.tensor(value) for name, value in values.items()})


def message(watch: NanGuard, **options: bool) -> str:
    with pytest.raises(ICKDError) as caught:
        watch.check(**options)
    return str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_iteration_counts(value: float) -> None:
    watch = NanGuard()
    step(watch, 0, "a", kd=1.0, nicd=2.0)
    watch.check()
    step(watch, 1, "b", kd=1.0, nicd=2.0)
    step(watch, 2, "c", "d", kd=1.0, nicd=value)
    step(watch, 3, "e", kd=value, nicd=value)
    step(watch, 4, "f", kd=1.0, nicd=2.0)  # it does not forget
    said = message(watch)
    assert said.startswith("nicd not finite (NaN or Inf) in iteration 3 (images: c, d). ")
    assert "teacher.dtype" in said and "clip_grad" in said and len(said) < 600


def test_terms_that_begin_later_are_watched_too() -> None:
    watch = NanGuard()
    step(watch, 0, "a", kd=1.0)
    step(watch, 1, "b", kd=1.0, nicd=math.nan)
    assert message(watch).startswith("nicd not finite (NaN or Inf) in iteration 2 (images: b)")


def test_many_images_are_counted_and_old_ones_forgotten() -> None:
    watch = NanGuard()
    step(watch, 0, *(f"{i}" for i in range(20)), kd=math.nan)
    assert "(images: 0, 1, 2, 3, 4, 5, 6, 7, 12 more)" in message(watch)
    for iteration in range(1, STEPS_KEPT + 1):
        step(watch, iteration, "z", kd=1.0)
    assert message(watch).startswith("kd not finite (NaN or Inf) in iteration 1. ")


def test_nothing_noted_nothing_found() -> None:
    watch = NanGuard()
    watch.begin_step(0, [sample("a")])
    watch.note({})
    watch.check()


def check_on_rank() -> str:
    rank = dist.get_rank()
    watch = NanGuard()
    step(watch, 4, f"a{rank}", kd=1.0, nicd=1.0)
    step(watch, 5, f"b{rank}", kd=math.nan if rank else 1.0, nicd=1.0)
    step(watch, 6, f"c{rank}", kd=math.nan, nicd=math.nan)
    return message(watch)


def test_ranks_stop_together_with_the_images_of_the_rank_that_had_it() -> None:
    first, second = on_ranks(2, check_on_rank)
    assert first == second
    assert first.startswith("kd not finite (NaN or Inf) in iteration 6 (images: b1). ")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("what", ["features", "logits"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)])
def test_a_network_that_gives_nan_is_refused(
    what: str, value: float, shape: tuple[int, ...]
) -> None:
    good = Tapped(torch.zeros(shape), torch.zeros(shape, dtype=torch.half))
    samples = [sample("a.png"), sample("b.png"), sample(None, 7)]
    check_finite(good, samples, "the teacher")
    getattr(good, what)[1, 2] = value
    with pytest.raises(ICKDError, match=rf"^peer 1 gives NaN or Inf {what} for b\.png\. Mend it"):
        check_finite(good, samples, "peer 1", "Mend it.")
    getattr(good, what)[1, 2] = 0
    getattr(good, what)[2, 0] = value
    with pytest.raises(ICKDError, match="for sample 7"):
        check_finite(good, samples, "the teacher")
