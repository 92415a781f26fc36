"""FlexibleRunner with DDP and FSDP distils as Runner does, with two ranks on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from tests.runs.compatibility.ranks import assert_same_losses, run_together, two_rank_config

pytestmark = pytest.mark.timeout(600)
SIZE_POLICY = "torch.distributed.fsdp.wrap.size_based_auto_wrap_policy"


def fsdp(wrapper: Any = None, **options: Any) -> dict[str, Any]:
    return dict(type="FSDPStrategy", model_wrapper=wrapper, **options)


CLASSIFIERS: dict[str, Any] = {
    "ddp": None,  # the default of the runner
    "static": dict(type="DDPStrategy", model_wrapper=dict(static_graph=True)),
    "fsdp": fsdp(),
    "fsdp_flat": fsdp(dict(use_orig_params=False)),
    # every layer of 20 parameters or more is a unit, the classifier layer too
    "fsdp_units": fsdp(dict(auto_wrap_policy=dict(type=SIZE_POLICY, min_num_params=20))),
    "fsdp_checkpointed_layer": fsdp(activation_checkpointing=dict(check_fn="is_classifier_layer")),
}
SEGMENTERS: dict[str, Any] = {
    "fsdp": CLASSIFIERS["fsdp"],
    "fsdp_units": CLASSIFIERS["fsdp_units"],
    "fsdp_checkpointed_head": fsdp(activation_checkpointing=dict(check_fn="is_head")),
}
HEAD_UNIT = fsdp(dict(auto_wrap_policy="wrap_segmentation_head"))


def flexible(cfg: Config, strategy: Any) -> Config:
    cfg.runner_type = "FlexibleRunner"
    if strategy is not None:
        cfg.strategy = strategy
    return cfg


@pytest.fixture(scope="module")
def results() -> dict[str, list[dict[str, Any]]]:
    """Return the results of all runs, by name."""
    cfgs = {scope: two_rank_config(scope) for scope in ("mmpretrain", "mmseg")}
    for scope, strategies in (("mmpretrain", CLASSIFIERS), ("mmseg", SEGMENTERS)):
        for name, strategy in strategies.items():
            cfgs[f"{scope}_{name}"] = flexible(two_rank_config(scope), strategy)
    cfgs["head_unit"] = flexible(two_rank_config("mmseg"), HEAD_UNIT)
    cfgs["head_unit_plain"] = flexible(two_rank_config("mmseg", hook=False), HEAD_UNIT)
    return run_together(cfgs)


def assert_as_runner(name: str, scope: str, results: dict[str, Any]) -> None:
    """Assert that a run has the losses of a plain Runner."""
    wrapper = "MMFullyShardedDataParallel" if "fsdp" in name else "MMDistributedDataParallel"
    for result, expected in zip(results[f"{scope}_{name}"], results[scope], strict=True):
        assert_same_losses(result, expected)
        assert result["wrapper"] == wrapper


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(name: str, results: dict[str, Any]) -> None:
    assert_as_runner(name, "mmpretrain", results)
    assert {"loss_picd", "loss_nicd"} <= results[f"mmpretrain_{name}"][0]["losses"].keys()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenter(name: str, results: dict[str, Any]) -> None:
    assert_as_runner(name, "mmseg", results)
    assert {"loss_nicd_pixel", "loss_nicd_region"} <= results[f"mmseg_{name}"][0]["losses"].keys()


def test_a_decode_head_that_is_a_unit_fails_with_and_without_the_hook(results: Any) -> None:
    # mmseg calls decode_head.loss(), not the head itself, so FSDP does not gather its weights
    for name in ("head_unit", "head_unit_plain"):
        for rank in results[name]:
            assert "weight should have at least three dimensions" in rank["error"]
