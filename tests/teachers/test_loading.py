"""Weights are loaded as modules load them, and every one of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from mmickd.teachers.checkpoint import state_dict_of
from mmickd.teachers.loading import load_strictly
from mmickd.utils.errors import ICKDError


def net(width=3):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


def changed(**changes):
    state = net().state_dict()
    for name, value in changes.items():
        name = name.replace("_dot_", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


@pytest.mark.parametrize(
    "value",
    [[1, 2], None, torch.zeros(3, 3, 1, 1).to_sparse(), torch.zeros(3, 3, 1, 1, device="meta")],
    ids=["list", "none", "sparse", "meta"],
)
def test_weights_that_are_no_ordinary_tensors(value):
    with pytest.raises(ICKDError, match=r"'x\.pth'"):
        load_strictly(net(), {**net().state_dict(), "0.weight": value}, "'x.pth'", "teacher.cfg")


def test_loads_every_weight():
    source, target = net(), net()
    load_strictly(target, source.state_dict(), "'x.pth'", "teacher.cfg")
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(**{"0_dot_bias": None}), "1 missing: 0.bias"),
        (changed(**{"1_dot_running_mean": None}), "1 missing: 1.running_mean"),
        (changed(**{"2_dot_weight": torch.zeros(1)}), "1 unexpected: 2.weight"),
        (
            changed(**{"0_dot_weight": torch.zeros(3, 4, 1, 1)}),
            r"1 refused: 0.weight of shape \[3, 4, 1, 1\] for \[3, 3, 1, 1\]",
        ),
        ({}, "6 missing: 0.weight, .* more"),
        ({"model": net().state_dict()}, "6 missing.*1 unexpected: model"),
    ],
)
def test_what_does_not_fit_is_said(state, message):
    with pytest.raises(ICKDError, match=f"'x.pth' does not fit teacher.cfg.*{message}"):
        load_strictly(net(), state, "'x.pth'", "teacher.cfg")


def test_all_that_is_wrong_is_said_at_once():
    state = changed(**{"0_dot_weight": torch.zeros(1), "0_dot_bias": None, "2_dot_x": [1]})
    with pytest.raises(ICKDError, match=r"1 missing: 0\.bias; 1 unexpected: 2\.x; 1 refused: 0\.w"):
        load_strictly(net(), state, "x", "y")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn])
def test_numbers_that_are_no_floats(dtype):
    for name in ("0_dot_weight", "1_dot_running_var"):
        value = net().state_dict()[name.replace("_dot_", ".")].to(dtype)
        match = rf"1 refused: {name.replace('_dot_', '[.]')} is of {dtype}, its layer needs floats"
        with pytest.raises(ICKDError, match=match):
            load_strictly(net(), changed(**{name: value}), "x", "y")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_width(dtype):
    model = net()
    load_strictly(model, net().to(dtype).state_dict(), "x", "y")
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


def as_of_old(model: nn.Module) -> dict[str, Any]:
    """Weights as mmpretrain's zoo has them: names of version 1, masks of windows, no versions."""
    state = {
        name.replace("e.norm1.", "e.norm."): value for name, value in model.state_dict().items()
    }
    return {**state, "backbone.stages.1.blocks.1.attn_mask": torch.zeros(4, 16, 16)}


def equal(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


def test_swin_of_an_older_version() -> None:
    old, new = swin(), swin()
    assert not equal(old, new)
    load_strictly(new, state_dict_of({"state_dict": as_of_old(old)}), "x", "y")
    assert equal(old, new)


def test_what_an_older_version_lacks_is_said_by_its_new_name() -> None:
    state = as_of_old(swin())
    del state["backbone.norm.weight"]
    state["backbone.norm.bias"] = state["backbone.norm.bias"].long()
    match = (
        r"\(1 missing: backbone\.norm1\.weight; 1 refused: backbone\.norm1\.bias is of torch.int64"
    )
    with pytest.raises(ICKDError, match=match):
        load_strictly(swin(), state, "x", "y")


def test_modules_are_told_the_version_of_the_weights() -> None:
    """Without it, Swin takes masks of this version for those of an older one, and drops them."""
    state = swin().state_dict()
    state["backbone.stages.1.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    for prefix in ("", "module."):
        wrapped = {f"{prefix}{name}": value for name, value in state.items()}
        wrapped = type(state)(wrapped)
        wrapped._metadata = {
            (prefix + name if name else prefix[:-1]): version
            for name, version in state._metadata.items()
        }
        with pytest.raises(ICKDError, match=r"\(1 unexpected: backbone.*attn_mask"):
            load_strictly(swin(), state_dict_of({"state_dict": wrapped}), "x", "y")


def test_positions_of_another_image_size() -> None:
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
    small, large = (
        with_backbone("VisionTransformer", arch=arch, img_size=size, patch_size=16)
        for size in (32, 64)
    )
    load_strictly(large, small.state_dict(), "x", "y")
    for name in ("cls_token", "ln1.weight"):
        assert torch.equal(large.backbone.state_dict()[name], small.backbone.state_dict()[name])


def test_swin_v2_takes_its_own_weights() -> None:
    old, new = swin_v2(), swin_v2()
    load_strictly(new, old.state_dict(), "x", "y")
    assert equal(old, new)
    state = old.state_dict()
    del state["backbone.norm1.bias"]
    with pytest.raises(ICKDError, match=r"\(1 missing: backbone\.norm1\.bias\)"):
        load_strictly(new, state, "x", "y")


class Forgetful(nn.Linear):
    """Leaves out a parameter of what it loads: unlike a buffer, nothing has computed it."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        state.pop(f"{prefix}weight", None)
        super()._load_from_state_dict(state, prefix, *args)


def test_a_parameter_that_is_left_out_is_missing() -> None:
    model = Forgetful(2, 2)
    with pytest.raises(ICKDError, match=r"\(1 missing: weight\)"):
        load_strictly(model, copy.deepcopy(model.state_dict()), "x", "y")


@pytest.mark.parametrize("state", [[1], None, {1: torch.ones(1)}, {"a": 1, 2: 3}])
def test_what_is_no_dict_of_weights(state: Any) -> None:
    with pytest.raises(ICKDError, match="x does not fit y"):
        load_strictly(net(), state, "x", "y")


def test_nothing_stays_at_the_model() -> None:
    model = net()
    load_strictly(model, net().state_dict(), "x", "y")
    assert not any(m._load_state_dict_pre_hooks for m in model.modules())
    assert not model._load_state_dict_post_hooks
