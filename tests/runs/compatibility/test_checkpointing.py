"""Activation checkpointing: recomputation in the backward pass changes no loss."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import history, run, scalar_names
from tests.runs.compatibility import parts  # noqa: F401

LEVELS = {"mmpretrain": None, "mmseg": ["pixel", "region"]}


def assert_same_training(result: Runner, expected: Runner) -> None:
    names = scalar_names(expected, "loss")
    assert len(names) >= 5
    for name in names:
        assert history(result, name) == pytest.approx(history(expected, name), rel=1e-5), name
    pairs = zip(result.model.parameters(), expected.model.parameters(), strict=True)
    for parameter, expected_parameter in pairs:
        torch.testing.assert_close(parameter, expected_parameter, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_checkpointed_blocks_of_the_backbone(scope: str) -> None:
    toy = toys.toy(scope)
    expected = run(toy.distilled(level=LEVELS[scope]))
    result = run(toy.distilled(toy.student(model__backbone__with_cp=True), level=LEVELS[scope]))
    assert_same_training(result, expected)


def checkpointed_head(use_reentrant: bool, more: bool = False) -> Config:
    """Return a run whose head is recomputed; with ``more``, logits are no output of that part."""
    head = {"type": "CheckpointedHead", "use_reentrant": use_reentrant, "more": more}
    return toys.segmenter().student(**{f"model__decode_head__{k}": v for k, v in head.items()})


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_the_classifier_layer_runs_twice(use_reentrant: bool) -> None:
    toy, level = toys.segmenter(), LEVELS["mmseg"]
    expected = run(toy.distilled(level=level))
    result = run(toy.distilled(checkpointed_head(use_reentrant), level=level))
    assert_same_training(result, expected)
    dry_runs, steps, validation = 2, 3, len(result.val_dataloader)
    assert result.model.decode_head.runs == dry_runs + 2 * steps + validation


def test_logits_inside_of_a_checkpointed_part() -> None:
    toy = toys.segmenter()
    assert_same_training(
        run(toy.distilled(checkpointed_head(False, more=True))), run(toy.distilled())
    )
    # the first pass of reentrant checkpointing has no gradients: the losses would train nothing
    with pytest.raises(ICKDError, match=r"'decode_head\.conv_seg'.*gradients.*reentrant"):
        run(toy.distilled(checkpointed_head(True, more=True)))
