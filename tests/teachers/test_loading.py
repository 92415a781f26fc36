"""Strict loading of weights, with the conversions of the modules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from mmickd.teachers.checkpoint import state_dict_of
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))


def state(without: str = "", **changes: Any) -> dict[str, Any]:
    """Return weights of :func:`net` with changes; names have ``__`` for dots."""
    weights = net().state_dict()
    weights.update({name[1:].replace("__", "."): value for name, value in changes.items()})
    weights.pop(without, None)
    return weights


def assert_refused(weights: Any, match: str, model: nn.Module | None = None) -> None:
    with pytest.raises(ICKDError, match=rf"'x\.pth' does not fit teacher\.cfg.*{match}"):
        load_strictly(model or net(), weights, "'x.pth'", "teacher.cfg")


def load(model: nn.Module, weights: Any) -> None:
    load_strictly(model, weights, "'x.pth'", "teacher.cfg")


def equal(a: nn.Module, b: nn.Module) -> bool:
    weights = b.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in a.state_dict().items())


def test_every_weight_is_loaded() -> None:
    source, target = net(), net()
    load(target, source.state_dict())
    assert equal(source, target)


@pytest.mark.parametrize(
    "value",
    [[1, 2], None, torch.zeros(3, 3, 1, 1).to_sparse(), torch.zeros(3, 3, 1, 1, device="meta")],
    ids=["list", "none", "sparse", "meta"],
)
def test_values_that_are_no_ordinary_tensors(value: Any) -> None:
    assert_refused(state(_0__weight=value), "")


@pytest.mark.parametrize("weights", [[1], None, {1: torch.ones(1)}, {"a": 1, 2: 3}])
def test_values_that_are_no_dict_of_weights(weights: Any) -> None:
    assert_refused(weights, "")


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (state("0.bias"), r"1 missing: 0\.bias"),
        (state("1.running_mean"), r"1 missing: 1\.running_mean"),
        (state(_2__weight=torch.zeros(1)), r"1 unexpected: 2\.weight"),
        (
            state(_0__weight=torch.zeros(3, 4, 1, 1)),
            r"1 refused: 0\.weight of shape \[3, 4, 1, 1\] for \[3, 3, 1, 1\]",
        ),
        ({}, r"6 missing: 0\.weight, .* more"),
        ({"model": net().state_dict()}, "6 missing.*1 unexpected: model"),
        (
            state("0.bias", _0__weight=torch.zeros(1), _2__x=[1]),
            r"1 missing: 0\.bias; 1 unexpected: 2\.x; 1 refused: 0\.w",
        ),
    ],
)
def test_the_message_lists_all_faults(weights: dict[str, Any], match: str) -> None:
    assert_refused(weights, match)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_other_dtypes_than_floats_are_refused(dtype: torch.dtype, name: str) -> None:
    weights = state()
    weights[name] = weights[name].to(dtype)
    assert_refused(weights, rf"1 refused: {name} is of {dtype}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_width(dtype: torch.dtype) -> None:
    model = net()
    load(model, net().to(dtype).state_dict())
    assert all(value.dtype == torch.float32 for value in model.parameters())


def with_backbone(kind: str, **options: Any) -> nn.Module:
    from mmpretrain.models import backbones

    model = nn.Module()
    model.backbone = getattr(backbones, kind)(**options)
    return model


ARCH = dict(embed_dims=8, depths=[1, 2], num_heads=[1, 1])


def swin() -> nn.Module:
    return with_backbone("SwinTransformer", arch=ARCH, img_size=64, window_size=4, out_indices=(1,))


def swin_v2() -> nn.Module:
    arch = dict(ARCH, extra_norm_every_n_blocks=0)
    sizes = dict(img_size=64, window_size=[4, 4], pretrained_window_sizes=[0, 0])
    return with_backbone("SwinTransformerV2", arch=arch, **sizes, out_indices=(1,))


MASK = "backbone.stages.1.blocks.1.attn_mask"


def old_weights(model: nn.Module) -> dict[str, Any]:
    """Return weights as in mmpretrain's zoo: names of version 1, window masks, no versions."""
    weights = model.state_dict()
    renamed = {name.replace("e.norm1.", "e.norm."): value for name, value in weights.items()}
    return {**renamed, MASK: torch.zeros(4, 16, 16)}


def test_swin_of_an_older_version() -> None:
    old, new = swin(), swin()
    assert not equal(old, new)
    load(new, state_dict_of({"state_dict": old_weights(old)}))
    assert equal(old, new)


def test_a_missing_weight_of_an_older_version_has_its_new_name() -> None:
    weights = old_weights(swin())
    del weights["backbone.norm.weight"]
    weights["backbone.norm.bias"] = weights["backbone.norm.bias"].long()
    match = r"\(1 missing: backbone\.norm1\.weight; 1 refused: backbone\.norm1\.bias is of torch.in"
    assert_refused(weights, match, swin())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_modules_get_the_version_of_the_weights(prefix: str) -> None:
    """Without it, Swin takes a mask of its version for one of an older version and drops it."""
    weights = swin().state_dict()
    weights[MASK] = torch.zeros(4, 16, 16)
    wrapped = type(weights)({f"{prefix}{name}": value for name, value in weights.items()})
    wrapped._metadata = {
        (prefix + name if name else prefix[:-1]): version
        for name, version in weights._metadata.items()
    }
    loaded = state_dict_of({"state_dict": wrapped})
    assert_refused(loaded, r"\(1 unexpected: backbone.*attn_mask", swin())


def test_position_embeddings_of_another_image_size() -> None:
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
    small, large = (
        with_backbone("VisionTransformer", arch=arch, img_size=size, patch_size=16)
        for size in (32, 64)
    )
    load(large, small.state_dict())
    for name in ("cls_token", "ln1.weight"):
        assert torch.equal(large.backbone.state_dict()[name], small.backbone.state_dict()[name])


def test_swin_v2_loads_its_own_weights() -> None:
    old, new = swin_v2(), swin_v2()
    load(new, old.state_dict())
    assert equal(old, new)
    weights = old.state_dict()
    del weights["backbone.norm1.bias"]
    assert_refused(weights, r"\(1 missing: backbone\.norm1\.bias\)", new)


class Forgetful(nn.Linear):
    """Layer that drops a parameter while it loads; unlike a buffer, it cannot compute it."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        state.pop(f"{prefix}weight", None)
        super()._load_from_state_dict(state, prefix, *args)


def test_a_dropped_parameter_is_missing() -> None:
    model = Forgetful(2, 2)
    assert_refused(copy.deepcopy(model.state_dict()), r"\(1 missing: weight\)", model)


def test_no_hook_remains() -> None:
    model = net()
    load(model, net().state_dict())
    assert not any(module._load_state_dict_pre_hooks for module in model.modules())
    assert not model._load_state_dict_post_hooks
