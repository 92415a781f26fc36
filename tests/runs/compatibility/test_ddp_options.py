"""Two ranks on the CPU with options of DistributedDataParallel."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import toys
from tests.runs.compatibility.ranks import (
    assert_ranks_agree,
    assert_same_losses,
    run_together,
    two_rank_config,
)

pytestmark = pytest.mark.timeout(600)


def config(hook: bool = True, **changes: Any) -> Config:
    return two_rank_config("mmpretrain", hook, **changes)


def small(**changes: Any) -> Config:
    cfg = config(**changes)
    cfg.model.backbone = dict(type="OneConvolution", width=8)
    cfg.model.head.in_channels = 8
    return cfg


def spare(hook: bool, find_unused: bool) -> Config:
    """Return a run of a student with a layer that gets no gradient."""
    cfg = config(hook, find_unused_parameters=find_unused)
    cfg.model.backbone.type = "SpareResNet"
    return cfg


def accumulating(hook: bool = True) -> Config:
    return config(hook, optim_wrapper__accumulative_counts=2, train_cfg__max_iters=4)


@pytest.fixture(scope="module")
def results() -> dict[str, list[dict[str, Any]]]:
    """Return the results of all runs, by name."""
    static = dict(type="MMDistributedDataParallel", static_graph=True)
    return run_together(
        {
            "ddp": config(),
            "find_unused": config(find_unused_parameters=True),
            "static": config(model_wrapper_cfg=static),
            "sync_bn": config(sync_bn="torch"),
            "spare_found": spare(True, True),
            "spare_found_plain": spare(False, True),
            "spare_missed": spare(True, False),
            "spare_missed_plain": spare(False, False),
            "accumulating": accumulating(),
            "accumulating_plain": accumulating(hook=False),
            "accumulating_off": toys.classifier().distilled(
                accumulating(hook=False), losses=toys.OFF
            ),
            "small": small(),
            "small_compiled": small(compile=dict(backend="eager")),
        }
    )


PAIRS = [
    ("find_unused", "ddp"),
    ("static", "ddp"),
    ("sync_bn", "ddp"),  # BN in its place on the CPU
    ("small_compiled", "small"),
]


@pytest.mark.parametrize(("name", "reference"), PAIRS)
def test_the_option_changes_no_loss(name: str, reference: str, results: dict[str, Any]) -> None:
    assert_ranks_agree(results[name])
    for result, expected in zip(results[name], results[reference], strict=True):
        assert {"loss_picd", "loss_nicd"} <= result["losses"].keys()
        assert_same_losses(result, expected)


def test_unused_parameters_are_found_or_refused_as_without_the_hook(results: Any) -> None:
    for name in ("spare_found", "spare_found_plain"):
        assert_ranks_agree(results[name])
        assert results[name][0]["iterations"] == 3
    for name in ("spare_missed", "spare_missed_plain"):
        for rank in results[name]:
            assert "Expected to have finished reduction" in rank["error"]


def test_gradients_accumulate_over_ranks(results: dict[str, Any]) -> None:
    for name in ("accumulating", "accumulating_off", "accumulating_plain"):
        assert_ranks_agree(results[name])
    parameters = {
        name: results[f"accumulating{name}"][0]["parameters"] for name in ("", "_off", "_plain")
    }
    assert toys.same_state(parameters["_off"], parameters["_plain"])
    assert not toys.same_state(parameters[""], parameters["_plain"])
