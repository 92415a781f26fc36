"""Configs of the hook in which one or two values are replaced by odd ones."""

from __future__ import annotations

import copy
import json
import math
import pickle
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from mmengine.config import Config, ConfigDict

from mmickd.losses import BaseLoss, KDLoss
from mmickd.retrieval import TorchRetriever
from mmickd.teachers import OfflineTeacher, SelfTeacher
from mmickd.utils.errors import ICKDError

SCHEDULE: dict[str, Any] = dict(
    value=1.0,
    begin=0,
    end=9,
    warmup=1,
    decay="linear",
    end_value=0.5,
    by_epoch=False,
    stepwise=False,
)
LOSSES: dict[str, Any] = dict(
    kd=dict(
        loss_weight=1.0,
        temperature=4.0,
        divergence="balanced",
        emphasis=2.0,
        standardize=True,
        dense=True,
    ),
    picd=dict(loss_weight=SCHEDULE, temperature=1.0, sim_temperature=0.1, num_positives=4),
    nicd=dict(type="NICDLoss", loss_weight=1.0, temperature=0.5, num_negatives=4),
    again=dict(type="mmickd.KDLoss", loss_weight=0.1),
    dkd=dict(type="DKDLoss", alpha=1.0, beta=8.0, temperature=4.0, dense=False),
    relations=dict(type="DISTLoss", beta=1.0, gamma=1.0, temperature=1.0, dense=True),
    order=dict(type="PLDLoss", temperature=1.0, dense=True),
    transformed=dict(type="WTTMLoss", temperature=4.0, dense=True),
    near=dict(type="RelationalLoss", num_rows=4, temperature=0.1, teacher_temperature=0.1),
    itself=dict(type="MembershipLoss", num_rows=4, temperature=0.5),
    smooth=dict(type="LabelSmoothingLoss", loss_weight=0.1, dense=True),
    task=dict(loss_weight=1.0),
)
TYPED = ["nicd", "dkd", "relations", "order", "transformed", "near", "itself", "smooth"]
"""Losses that name their type and every option of it."""
BANK: dict[str, Any] = dict(
    cache_dir=None,
    cache_limit=1.0,
    dtype="fp32",
    capacity_per_class=64,
    pixels_per_image=4,
    max_images=12,
    seed=1,
    pipeline=None,
    batch_size=4,
    num_workers=0,
    shard=False,
    momentum=None,
)
HOOK: dict[str, Any] = dict(
    level="image",
    layer="auto",
    query="view",
    bank=BANK,
    anchors=8,
    retriever=dict(type="TorchRetriever", chunk_size=3),
    losses=LOSSES,
    exclude_same_id=True,
)
SELF: dict[str, Any] = dict(
    type="SelfTeacher",
    mode="ema",
    momentum=0.1,
    warmup=2,
    interval=1,
    checkpoint=None,
    layer="auto",
    dtype="bf16",
    trust_checkpoint=False,
    resume="strict",
)
ONLINE: dict[str, Any] = dict(
    type="OnlineTeacher",
    cfg=None,
    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
    param_scheduler=dict(type="ConstantLR", factor=0.5),
    num_peers=1,
    losses=dict(kd=dict(loss_weight=1.0), picd=None, nicd=None),
    layer="auto",
    validate=False,
    resume="strict",
)


def offline(cfg: Any, checkpoint: Any) -> dict[str, Any]:
    """Return every option of an offline teacher."""
    return dict(
        type="OfflineTeacher",
        cfg=cfg,
        checkpoint=str(checkpoint),
        layer="auto",
        dtype="fp32",
        features="auto",
        feature_grid=4,
        trust_checkpoint=False,
    )


class WithoutRepr:
    """An object whose ``repr`` fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def odd_values() -> list[Any]:
    """Return values that a config or a checkpoint may hold in the wrong place."""
    circular: list[Any] = [1]
    circular.append(circular)
    numbers = [0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**63), 10**400, 10**5000]
    floats = [0.0, -0.0, 0.5, 1.5, -2.5, 1e-320, 1e-30, 1e30, 1e300, math.inf, -math.inf, math.nan]
    texts = ["", "auto", "x", "1", "no", "None", "view", "head.fc", "json", "os.system", "builtins"]
    texts += ["a" * 5000, "a/" * 3000, "\x1b[31mred", "two\nlines", "nul\0", "\ud800", "\u202eabc"]
    texts += ["~nobody-here/x", "~", ".", "/", "/dev/null", "http://[", "https://", "mmseg::", "::"]
    texts += ["mmnothing::x.py", "..", "file:///x", "torch.nn.Linear", "mmickd.losses.KDLoss"]
    lists: list[Any] = [[], [1], ["a"] * 3, [None], (), (1, 2), [[]], list(range(10**5)), circular]
    dicts: list[Any] = [
        {},
        {1: 2},
        {"type": "json"},
        {"type": 3},
        {"type": None},
        {"x": "y" * 9999},
    ]
    dicts += [{"type": int}, {"type": KDLoss}, ConfigDict(type="KDLoss"), Config({"model": {}})]
    dicts += [{"model": 3}, {"model": {"type": "json"}}, {"a" * 999: 1}, {None: 1}, {"a b": {}}]
    kinds = [int, dict, type, OfflineTeacher, SelfTeacher, KDLoss, BaseLoss, TorchRetriever, json]
    arrays: list[Any] = [np.ones(2), np.ones(()), np.int64(3), np.float64(0.5), np.float32("nan")]
    arrays += [np.bool_(True), np.array(["a"]), np.zeros((0, 3)), torch.tensor(1), torch.ones(2, 2)]
    arrays += [torch.empty(0), torch.tensor(math.nan), torch.float16, torch.zeros(1, device="meta")]
    objects: list[Any] = [None, True, False, b"x", Path("x"), 1j, Decimal(1), Fraction(1, 2), {1}]
    objects += [
        date(2020, 1, 1),
        object(),
        WithoutRepr(),
        WithoutRepr,
        print,
        lambda x: x,
        range(3),
    ]
    objects += [iter([1]), slice(1), Ellipsis, NotImplemented, torch.nn.Linear(1, 1), bytearray(3)]
    return [*numbers, *floats, *texts, *lists, *dicts, *kinds, *arrays, *objects]


@st.composite
def mutated(draw: st.DrawFn, base: dict[str, Any], most: int = 2) -> dict[str, Any]:
    """Return ``base`` with one value or more replaced, removed or added, at any depth."""
    mutant, values = copy.deepcopy(base), odd_values()
    for _ in range(draw(st.integers(1, most))):
        node, key = _random_place(draw, mutant)
        index = draw(st.integers(-2, len(values) - 1))
        if index == -2:
            del node[key]
        elif index == -1 and isinstance(node, dict):
            node[draw(st.sampled_from(["x", "loss", "typ", 3, "b" * 999, "\x1b"]))] = 1
        else:
            node[key] = values[index]
    return mutant


def _random_place(draw: st.DrawFn, node: Any) -> tuple[Any, Any]:
    """Draw a dict or list in ``node`` (or itself) and a key of it."""
    while True:
        key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        deeper = isinstance(node[key], (dict, list)) and node[key]
        if not deeper or not draw(st.integers(0, 4)):
            return node, key
        node = node[key]


def check_message(error: ICKDError) -> None:
    """Assert that a message is one printable paragraph of readable length."""
    message = str(error)
    assert message and message.isprintable() and len(message) <= 600, message
    assert str(pickle.loads(pickle.dumps(ICKDError(message)))) == message
