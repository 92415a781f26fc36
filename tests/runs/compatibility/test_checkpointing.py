"""Activation checkpointing: what runs again in the backward pass disturbs nothing."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import history, run
from tests.runs.compatibility import parts  # noqa: F401

LEVELS = {"mmpretrain": None, "mmseg": ["pixel", "region"]}


def assert_same_training(found: Runner, wanted: Runner) -> None:
    names = [n.removeprefix("train/") for n in wanted.message_hub.log_scalars if "loss" in n]
    assert len(names) >= 5
    for name in names:
        assert history(found, name) == pytest.approx(history(wanted, name), rel=1e-5), name
    for one, other in zip(found.model.parameters(), wanted.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_checkpointed_blocks_of_the_backbone(scope: str) -> None:
    toy = toys.toy(scope)
    wanted = run(toy.distilled(level=LEVELS[scope]))
    found = run(toy.distilled(toy.student(model__backbone__with_cp=True), level=LEVELS[scope]))
    assert_same_training(found, wanted)


def checkpointed_head(use_reentrant: bool, more: bool = False) -> Config:
    """``more``: the logits are not what leaves the checkpointed part."""
    head = {"type": "CheckpointedHead", "use_reentrant": use_reentrant, "more": more}
    return toys.segmenter().student(**{f"model__decode_head__{k}": v for k, v in head.items()})


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_the_classifier_layer_runs_twice(use_reentrant: bool) -> None:
    toy, level = toys.segmenter(), LEVELS["mmseg"]
    wanted = run(toy.distilled(level=level))
    found = run(toy.distilled(checkpointed_head(use_reentrant), level=level))
    assert_same_training(found, wanted)
    probe, steps, validation = 2, 3, len(found.val_dataloader)
    assert found.model.decode_head.runs == probe + 2 * steps + validation


def test_logits_inside_of_a_checkpointed_part() -> None:
    toy = toys.segmenter()
    assert_same_training(
        run(toy.distilled(checkpointed_head(False, more=True))), run(toy.distilled())
    )
    # the first run of reentrant checkpointing has no gradients: the losses would train nothing
    with pytest.raises(
        ICKDError, match=r"'decode_head\.conv_seg' ran without gradients.*reentrant"
    ):
        run(toy.distilled(checkpointed_head(True, more=True)))
